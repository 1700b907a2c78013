/** Statements by which an operation asks for executions: whose turn it is, and what is to be retried. */
import type { Transaction } from '../../postgres.ts';
import type { OperationItem } from './operation-store.ts';

/** Where a job allows all, so many of its executions may be unfinished before a backfill waits. */
export const MOST_UNFINISHED = 1_000;

export type JobTurn = {
  job_id: string;
  /** Several of its executions may run at once. */
  allows_all: boolean;
  /** Unfinished ones. */
  busy: number;
  enabled: boolean;
  /** Paused, also for what people ask for. */
  held: boolean;
  frozen: boolean;
  /** By this transaction; false: somebody else is at it. */
  locked: boolean;
};

/** Locks jobs in id order and reads how busy they are; whoever admits in this transaction finds them so. */
export async function turnsLock(tx: Transaction, team: string, jobIds: readonly string[]): Promise<Map<string, JobTurn>> {
  const ids = [...new Set(jobIds)].sort();
  await tx.query({
    name: 'jobs-lock',
    text: `SELECT 1 FROM unnest($2::text[]) WITH ORDINALITY AS u (id, nth) JOIN job_runtime r ON r.job_id = u.id AND r.team = $1 ORDER BY r.job_id FOR UPDATE OF r`,
    values: [team, ids],
  });
  return await turnsRead(tx, team, ids, ids);
}

/** The same of those that nobody else holds: waiting for jobs at work, one after another, would keep all the others locked. */
export async function turnsTake(tx: Transaction, team: string, jobIds: readonly string[]): Promise<Map<string, JobTurn>> {
  const ids = [...new Set(jobIds)].sort();
  const { rows } = await tx.query<{ job_id: string }>({
    name: 'jobs-take',
    text: `SELECT r.job_id FROM unnest($2::text[]) AS u (id) JOIN job_runtime r ON r.job_id = u.id AND r.team = $1 ORDER BY r.job_id FOR UPDATE OF r SKIP LOCKED`,
    values: [team, ids],
  });
  return await turnsRead(
    tx,
    team,
    ids,
    rows.map((row) => row.job_id),
  );
}

/** Alias: r job_runtime. Only asked of each where there is a freeze at all. */
const FROZEN = '((SELECT any_freeze($1, clock_timestamp())) AND (freeze_holding($1, r.job_id, clock_timestamp())).id IS NOT NULL)';
const HELD = '(r.paused_at IS NOT NULL AND r.block_manual)';

/** How busy jobs are; it may change at once of those that are not among `locked`. */
export async function turnsRead(
  tx: Transaction,
  team: string,
  ids: readonly string[],
  locked: readonly string[] = [],
): Promise<Map<string, JobTurn>> {
  const { rows } = await tx.query<JobTurn>({
    name: 'job-turns',
    text: `SELECT r.job_id, r.overlap = 'allow_all' AS allows_all, greatest(r.active + r.waiting, 0) AS busy, r.enabled, ${HELD} AS held, ${FROZEN} AS frozen,
                  r.job_id = ANY ($3::text[]) AS locked
             FROM unnest($2::text[]) AS u (id) JOIN LATERAL (SELECT r.* FROM job_runtime r WHERE r.job_id = u.id LIMIT 1) r ON r.team = $1`,
    values: [team, ids, locked],
  });
  return new Map(rows.map((row) => [row.job_id, row]));
}

/** The first pending item of each job that could begin one now, or that is gone. Reads all that is pending: a hundred thousand items take some tenths of a second. */
export async function itemsOfReadyJobs(tx: Transaction, team: string, operationId: string, limit: number): Promise<OperationItem[]> {
  const { rows } = await tx.query<OperationItem>({
    name: 'operation-items-of-ready-jobs',
    text: `SELECT f.position, f.job_id, f.execution_id, f.slot
             FROM (SELECT DISTINCT ON (i.job_id) i.position, i.job_id, i.execution_id, i.slot FROM operation_items i
                    WHERE i.operation_id = $2 AND i.team = $1 AND i.result = 'pending' ORDER BY i.job_id, i.position) f
             LEFT JOIN LATERAL (SELECT r.* FROM job_runtime r WHERE r.job_id = f.job_id LIMIT 1) r ON r.team = $1
            WHERE r.job_id IS NULL OR NOT r.enabled
               OR (r.active + r.waiting < CASE r.overlap WHEN 'allow_all' THEN ${MOST_UNFINISHED} ELSE 1 END AND NOT ${HELD} AND NOT ${FROZEN})
            ORDER BY f.position LIMIT $3`,
    values: [team, operationId, limit],
  });
  return rows;
}

/** The first pending item of each job but these. */
export async function itemsOfOtherJobs(
  tx: Transaction,
  team: string,
  operationId: string,
  busy: readonly string[],
  limit: number,
): Promise<OperationItem[]> {
  const { rows } = await tx.query<OperationItem>({
    name: 'operation-items-of-other-jobs',
    text: `SELECT f.position, f.job_id, f.execution_id, f.slot
             FROM (SELECT DISTINCT ON (i.job_id) i.position, i.job_id, i.execution_id, i.slot FROM operation_items i
                    WHERE i.operation_id = $2 AND i.team = $1 AND i.result = 'pending' AND i.job_id <> ALL ($3::text[])
                    ORDER BY i.job_id, i.position) f
            ORDER BY f.position LIMIT $4`,
    values: [team, operationId, busy, limit],
  });
  return rows;
}

/** What a retry of an execution is made of. */
export type Retryable = {
  id: string;
  job_id: string;
  status: string;
  slot: Date | null;
  /** Its own input, or that of the definition it ran with. */
  input: unknown;
  generation: string;
};

/** Executions by id; those that are not there are left out. */
export async function retryables(
  tx: Transaction,
  team: string,
  keys: readonly { partitionAt: Date; id: string }[],
): Promise<Map<string, Retryable>> {
  const { rows } = await tx.query<Retryable>({
    name: 'retryables',
    text: `SELECT e.id, e.job_id, e.status, e.slot, CASE WHEN e.has_input THEN e.input ELSE d.document -> 'input' END AS input, e.generation
             FROM unnest($2::timestamptz[], $3::text[]) AS k (at, id)
             JOIN LATERAL (SELECT e.* FROM job_executions e WHERE e.partition_at = k.at AND e.id = k.id AND e.team = $1 LIMIT 1) e ON true
             LEFT JOIN LATERAL (SELECT d.document FROM job_revisions d WHERE d.job_id = e.job_id AND d.generation = e.generation AND d.team = $1 LIMIT 1) d ON true`,
    values: [team, keys.map((key) => key.partitionAt), keys.map((key) => key.id)],
  });
  return new Map(rows.map((row) => [row.id, row]));
}
