/** Fails twice, then succeeds: the execution with three attempts. */
import { defineHandler } from 'almanac/handlers';

export const thirdTimeLucky = defineHandler({
  name: 'bench-third-time-lucky',
  run: async ({ attempt }) => {
    if (attempt < 3) throw new Error(`attempt ${attempt} fails on purpose`);
    return { attempt };
  },
});
