/** Handlers that do as their input says, for facts about what a handler may do. */
import { defineHandler, NonRetryableError } from 'almanac/handlers';
import { z } from 'zod';

const input = z.object({ say: z.string().default('nothing'), failTimes: z.int().default(0), forGood: z.boolean().default(false) });

export const told = defineHandler({
  name: 'told',
  input,
  run: ({ input: { say, failTimes, forGood }, executionId, slot, attempt, log, heartbeat }) => {
    heartbeat({ half: 'way' });
    log.info({ said: say }, 'as told');
    if (forGood) throw new NonRetryableError('never again');
    if (attempt <= failTimes) throw new Error(`attempt ${attempt} fails`);
    return { said: say, executionId, slot, attempt };
  },
});
