/** Operations on a real database, worked off by hand: no Temporal, so that each pass is the test's own. */
import { readConfig } from '../../../src/config.ts';
import { createStarter } from '../../../src/jobs/execution-starts.ts';
import { createAppliers } from '../../../src/jobs/operations/appliers.ts';
import { type Backfills, createBackfills } from '../../../src/jobs/operations/backfills.ts';
import { type Appliers, createOperationRunner } from '../../../src/jobs/operations/operation-runner.ts';
import type { OperationKind } from '../../../src/jobs/operations/operation-store.ts';
import type { OperationView } from '../../../src/jobs/operations/operation-view.ts';
import { createOperations, type Operations } from '../../../src/jobs/operations/operations.ts';
import { createTriggerWishes } from '../../../src/jobs/trigger-wishes.ts';
import { createLog } from '../../../src/log.ts';
import { CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, rows } from '../jobs-under-test.ts';

export type OperationsUnderTest = JobsUnderTest & {
  operations: Operations;
  backfills: Backfills;
  appliers: Appliers;
  /** What was asked to begin. */
  begun: string[];
  /** Makes passes until nothing is left or the next one has to wait; answers how many were made. */
  workOff: (id: string, most?: number) => Promise<{ passes: number; done: boolean; waitMs: number }>;
  /** A job that fires every hour; more of it as given. */
  job: (name: string, more?: object) => Promise<string>;
  itemsOf: (operation: Pick<OperationView, 'id' | 'kind'>) => Promise<string[]>;
};

export async function operationsUnderTest(): Promise<OperationsUnderTest> {
  const it = await jobsUnderTest();
  const log = createLog('test', 'silent');
  const config = readConfig({ DATABASE_URL: it.databaseUrl, TEMPORAL_ADDRESS: '127.0.0.1:1', CATEGORY_QUEUES: 'night=slow' });
  const starter = createStarter({ pool: it.pool, temporal: it.temporal, log });
  const appliers = createAppliers({ pool: it.pool, temporal: it.temporal, log, config, starter });
  const runner = createOperationRunner({ pool: it.pool, log, appliers });
  const begun: string[] = [];
  const operations = createOperations({
    pool: it.pool,
    wishesOf: createTriggerWishes(config),
    begin: (_team: string, id: string, _kind: OperationKind) => begun.push(id),
  });
  return {
    ...it,
    operations,
    backfills: createBackfills({ pool: it.pool }),
    appliers,
    begun,
    async workOff(id, most = 200) {
      for (let passes = 1; ; passes += 1) {
        const { done, waitMs } = await runner.pass('default', id);
        if (done || waitMs > 0 || passes >= most) return { passes, done, waitMs };
      }
    },
    async job(name, more = {}) {
      return (await it.jobs.create(CALLER, { name, target: HTTP_TARGET, schedule: { every: '1h' }, ...more }, { respondAsync: true })).value
        .id;
    },
    async itemsOf({ id, kind }) {
      const { items } = await operations.items(CALLER, kind === 'backfill' ? 'backfills' : 'bulk', id, { limit: 200 });
      return items.map((item) => (item.code ? `${item.result}: ${item.code}` : item.result));
    },
    close: async () => {
      await starter.drain();
      await it.close();
    },
  };
}

/** Has a job be a member of its clock since long ago, as if it had been created then. */
export async function madeAt(it: OperationsUnderTest, jobId: string, at: string): Promise<void> {
  await rows(it.pool, 'UPDATE clock_members SET valid_from = $2 WHERE job_id = $1', jobId, at);
  await rows(it.pool, 'UPDATE jobs SET created_at = $2 WHERE id = $1', jobId, at);
}
