/** The job use cases on a real database of their own. Unless a test names one, Temporal is absent: what is acknowledged must be true in Postgres without it. */
import assert from 'node:assert/strict';
import type { Client } from '@temporalio/client';
import { readConfig } from '../../src/config.ts';
import type { Caller } from '../../src/jobs/caller.ts';
import { createReconciler } from '../../src/jobs/clocks/reconcile.ts';
import { JobError } from '../../src/jobs/errors.ts';
import { createStarter } from '../../src/jobs/execution-starts.ts';
import { createJobs, type Jobs } from '../../src/jobs/jobs.ts';
import { createSchedules, type Schedules } from '../../src/jobs/schedules.ts';
import { createServices, type Services } from '../../src/jobs/services.ts';
import type { TargetRules } from '../../src/jobs/target-document.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { createTemporalClient } from '../../src/temporal.ts';
import { createTestDatabase } from '../support/stack.ts';

export const CALLER: Caller = { holder: 'key_1', name: 'tests', team: 'default', role: 'admin', requestId: 'req-1' };
/** Nothing here ever waits for Temporal. */
export const ASYNC = { respondAsync: true };
export const HTTP_TARGET = { type: 'http', url: 'https://example.com/hook' } as const;

const RULES: TargetRules = {
  urlProblem: (url) => (new URL(url).hostname === '169.254.169.254' ? 'is a metadata address: it is never reached' : null),
  headerProblems: (headers) =>
    Object.keys(headers)
      .filter((header) => header.toLowerCase() === 'host')
      .map((header) => ({ header, message: 'is set by Almanac' })),
};

export type JobsUnderTest = {
  pool: Pool;
  databaseUrl: string;
  temporal: Client;
  jobs: Jobs;
  schedules: Schedules;
  services: Services;
  /** Until every start is told to its row. */
  startsNoted: () => Promise<void>;
  close: () => Promise<void>;
};

/** @param stopped gathers the workflows that were asked to stop. */
export async function jobsUnderTest(environment: Record<string, string> = {}, stopped?: string[]): Promise<JobsUnderTest> {
  const database = await createTestDatabase();
  const log = createLog('test', 'silent');
  const config = readConfig({ DATABASE_URL: database.url, TEMPORAL_ADDRESS: '127.0.0.1:1', SYNC_BUDGET_MS: '50', ...environment });
  const pool = createPool(config, log, 'test');
  const temporal = createTemporalClient(config);
  const starter = createStarter({ pool, temporal, log });
  const reconciler = createReconciler({ pool, temporal, log });
  const stopWorkflow = async (id: string, reason: string) => {
    stopped?.push(id);
    if ('TEMPORAL_ADDRESS' in environment) await temporal.workflow.getHandle(id).terminate(reason);
  };
  const jobs = createJobs({
    pool,
    log,
    config,
    targetRules: RULES,
    reconciler,
    starter,
    ...(stopped || 'TEMPORAL_ADDRESS' in environment ? { stopWorkflow } : {}),
  });
  return {
    pool,
    databaseUrl: database.url,
    temporal,
    jobs,
    schedules: createSchedules({ pool, jobs }),
    services: createServices({ pool, targetRules: RULES }),
    startsNoted: () => starter.drain(),
    close: async () => {
      await jobs.drain();
      await Promise.all([starter.drain(), reconciler.drain()]);
      await temporal.connection.close();
      await pool.end();
      await database.drop();
    },
  };
}

/** Passes when the promise is refused with this kind and code; answers the error for a closer look. */
export async function refused(work: Promise<unknown>, kind: string, code: string): Promise<JobError> {
  const error = await work.then(
    () => assert.fail(`was not refused, but should be with ${kind}/${code}`),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof JobError, String(error));
  assert.deepEqual([error.kind, error.code], [kind, code], error.message);
  return error;
}

/** Rows of a statement about one job. */
export async function rows<Row>(pool: Pool, text: string, ...values: unknown[]): Promise<Row[]> {
  return (await pool.query(text, values)).rows as Row[];
}

export type MemberRow = { generation: string; timing_hash: string; valid_from: Date; valid_to: Date | number };
/** Memberships of a job, oldest first; an open one ends at Infinity. */
export const membersOf = (pool: Pool, jobId: string): Promise<MemberRow[]> =>
  rows(pool, 'SELECT generation, timing_hash, valid_from, valid_to FROM clock_members WHERE job_id = $1 ORDER BY valid_from', jobId);

export type ClockRow = {
  generation: string;
  paused: boolean;
  queue: string;
  timing_hash: string;
  empty_since: Date | null;
  deleted_at: Date | null;
};
export const clockOf = async (pool: Pool, jobId: string): Promise<ClockRow | undefined> =>
  (
    await rows<ClockRow>(pool, 'SELECT generation, paused, queue, timing_hash, empty_since, deleted_at FROM clocks WHERE id = $1', jobId)
  )[0];

export const actionsOf = async (pool: Pool, subjectId: string): Promise<string[]> =>
  (await rows<{ action: string }>(pool, 'SELECT action FROM audit_events WHERE subject_id = $1 ORDER BY id', subjectId)).map(
    (row) => row.action,
  );
