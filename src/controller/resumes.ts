/** Loop: pauses that end by themselves. Postgres alone is needed: a clock is shown in Temporal that its job is awake by who mends clocks. */
import { resumeDue } from '../jobs/operations/due-resumes.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

export function createResumes(deps: { pool: Pool; servers: Servers; log: Log; onResumed: () => void }): Loop {
  const { pool, servers, log, onResumed } = deps;
  return createLoop({
    name: 'resumes',
    intervalMs: 1_000,
    needs: ['Postgres'],
    servers,
    log,
    pass: async () => {
      const result = await alone(pool, 'resumes', () => resumeDue(pool, log));
      if (!result?.resumed && !result?.woken) return undefined;
      if (result.resumed) log.info({ jobs: result.resumed }, 'pauses have ended by themselves');
      onResumed();
      return result.more ? 'again' : undefined;
    },
  });
}
