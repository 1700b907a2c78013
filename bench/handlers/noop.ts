/** Does as little as a handler can, so that what is measured is Almanac. */
import { defineHandler } from 'almanac/handlers';

export const noop = defineHandler({ name: 'bench-noop', run: async ({ executionId }) => ({ answered: executionId }) });
