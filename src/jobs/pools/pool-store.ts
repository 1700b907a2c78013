/** The statements on pools: plan, begin, put back, record, close. The rules are in migrations/0009, 0012 and 0015; these are their typed callers. */
import type { Queryable } from '../../postgres.ts';
import type { ExecutionStart, RecordedRow } from '../execution-store.ts';
import { laterOf } from '../later-slots.ts';

/** `planned_at` in Postgres' words: it is exact to the microsecond, which a Date is not. */
export type RangeRow = { priority: number; from_id: string; to_id: string; members: number; later_ms: number; planned_at: string };

/** Cuts the members of a slot into ranges of at most `size`. */
export async function planPoolSlot(
  database: Queryable,
  slot: { team: string; clock: string; nominal: Date; size: number },
): Promise<RangeRow[]> {
  const { rows } = await database.query<RangeRow>({
    name: 'plan-pool-slot',
    text: 'SELECT priority, from_id, to_id, members, later_ms, planned_at FROM plan_pool_slot($1, $2, $3, $4)',
    values: [slot.team, slot.clock, slot.nominal, slot.size],
  });
  return rows;
}

export type PlannedRow = RangeRow & { due_at: Date; ahead: boolean };

/** Cuts the unfinished rows of a pool into ranges of at most `size`; `ahead`: all of it is due later than `leadMs` from now. */
export async function planPoolRows(
  database: Queryable,
  pool: { team: string; pool: string; size: number; leadMs: number },
): Promise<PlannedRow[]> {
  const { rows } = await database.query<PlannedRow>({
    name: 'plan-pool',
    text: `SELECT priority, from_id, to_id, members, later_ms, planned_at, due_at, ahead FROM plan_pool($1, $2, $3, make_interval(secs => $4 / 1000.0))`,
    values: [pool.team, pool.pool, pool.size, pool.leadMs],
  });
  return rows;
}

/** A row whose call is claimed (`run`), which has ended or is somebody else's (`stopped`), or of which that is still to be said (`refused`: only its id is told). */
export type BegunCall = {
  decision: 'run' | 'stopped' | 'refused';
  id: string;
  attempt: number;
  tries: number;
  due_at: Date;
  slot: Date | null;
  generation: string;
  job_name: string;
  input: unknown;
  has_input: boolean;
  timeout_ms: string | null;
  max_attempts: number;
  trigger: string;
  started_at: Date;
  released: ExecutionStart | null;
};

const BEGUN = `decision, id, attempt, tries, due_at, slot, generation, job_name, input, has_input, timeout_ms, max_attempts, trigger, started_at, released`;

export type RangeOfPool = {
  team: string;
  pool: string;
  runId: string;
  chunk: string;
  priority: number;
  from: string;
  to: string;
  bufferLimit: number;
};

/** Claims the due rows of a range: with `ids` only these, and only those that were put back; with `after` only what has come due since. What it refuses is for `refusePool`. */
export async function beginPool(
  database: Queryable,
  range: Omit<RangeOfPool, 'bufferLimit'> & { ids?: readonly string[]; after?: string },
): Promise<BegunCall[]> {
  const { rows } = await database.query<BegunCall>({
    name: 'begin-pool',
    text: `SELECT ${BEGUN} FROM begin_pool($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    values: [
      range.team,
      range.pool,
      range.runId,
      range.chunk,
      range.priority,
      range.from,
      range.to,
      range.ids ?? null,
      range.after ?? null,
    ],
  });
  return rows;
}

/** Says one by one what becomes of rows that were refused: claims them after all, or ends them. Who waits or was skipped by its policy is not in the answer. */
export async function refusePool(
  database: Queryable,
  refused: Pick<RangeOfPool, 'team' | 'pool' | 'runId' | 'chunk' | 'bufferLimit'> & { rows: readonly { partitionAt: Date; id: string }[] },
): Promise<BegunCall[]> {
  const { rows } = await database.query<BegunCall>({
    name: 'refuse-pool',
    text: `SELECT ${BEGUN} FROM refuse_pool($1, $2, $3, $4, $5, $6, $7)`,
    values: [
      refused.team,
      refused.pool,
      refused.runId,
      refused.chunk,
      refused.rows.map((row) => row.partitionAt),
      refused.rows.map((row) => row.id),
      refused.bufferLimit,
    ],
  });
  return rows;
}

/** When the next queued row of a range is due that is due after `after`, and in how many milliseconds; null: there is none. */
export async function nextDueOfPool(
  database: Queryable,
  range: Omit<RangeOfPool, 'runId' | 'chunk' | 'bufferLimit'> & { after: string },
): Promise<{ dueAt: string; inMs: number } | null> {
  const { rows } = await database.query<{ due_at: string | null; in_ms: number }>({
    name: 'next-due-of-pool',
    text: 'SELECT due_at, in_ms FROM next_due_of_pool($1, $2, $3, $4, $5, $6)',
    values: [range.team, range.pool, range.priority, range.from, range.to, range.after],
  });
  const [row] = rows;
  return row?.due_at ? { dueAt: row.due_at, inMs: row.in_ms } : null;
}

/** Admits a range of a slot's members and claims what is due. `from` and `to` are job ids. */
export async function beginPoolSlot(
  database: Queryable,
  range: RangeOfPool & { clock: string; nominal: Date; successor: Date | null; later?: readonly Date[]; plannedAt: string },
): Promise<BegunCall[]> {
  const { rows } = await database.query<BegunCall>({
    name: 'begin-pool-members',
    text: `SELECT ${BEGUN} FROM begin_pool_members($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
    values: [
      range.team,
      range.clock,
      range.nominal,
      laterOf(range),
      range.pool,
      range.runId,
      range.chunk,
      range.priority,
      range.from,
      range.to,
      range.plannedAt,
      range.bufferLimit,
    ],
  });
  return rows;
}

/** Gives back claims of a chunk whose call was not made. Answers those that were cancelled meanwhile: they are to be ended. */
export async function putBack(
  database: Queryable,
  team: string,
  chunk: string,
  claims: readonly { partitionAt: Date; id: string; attempt: number }[],
): Promise<string[]> {
  const { rows } = await database.query<{ id: string }>({
    name: 'put-back',
    text: 'SELECT id FROM put_back($1, $2, $3, $4, $5)',
    values: [team, chunk, claims.map((claim) => claim.partitionAt), claims.map((claim) => claim.id), claims.map((claim) => claim.attempt)],
  });
  return rows.map((row) => row.id);
}

/** A recorded row; one without an id says only what was released. */
export type PoolRecord = RecordedRow | { id: null; released: ExecutionStart | null };

/** Writes outcomes of pooled calls in one statement; see `record_pool`. */
export async function recordPool(database: Queryable, outcomes: readonly object[]): Promise<PoolRecord[]> {
  const { rows } = await database.query<PoolRecord>({
    name: 'record-pool',
    text: 'SELECT id, applied, status, reason, job_name, trigger, started_at, finished_at, due_at, released FROM record_pool($1)',
    values: [JSON.stringify(outcomes)],
  });
  return rows;
}

/** Ends every unfinished row of a pool; answers what may go on for it. */
export async function closePoolRows(
  database: Queryable,
  pool: { team: string; pool: string; status: string; reason: string; error: object | null },
): Promise<ExecutionStart[]> {
  const { rows } = await database.query<{ released: ExecutionStart | null }>(
    'SELECT released FROM close_pool($1, $2, $3, $4, $5) WHERE released IS NOT NULL',
    [pool.team, pool.pool, pool.status, pool.reason, pool.error ? JSON.stringify(pool.error) : null],
  );
  return rows.flatMap((row) => row.released ?? []);
}

/** Definitions of jobs at given generations. */
export async function definitionsOf<Document>(
  database: Queryable,
  wanted: readonly { jobId: string; generation: string }[],
): Promise<{ job_id: string; generation: string; document: Document }[]> {
  const { rows } = await database.query<{ job_id: string; generation: string; document: Document }>({
    name: 'definitions-of',
    text: `SELECT d.job_id, d.generation, d.document FROM unnest($1::text[], $2::bigint[]) AS w (job_id, generation)
             JOIN job_revisions d ON d.job_id = w.job_id AND d.generation = w.generation`,
    values: [wanted.map((one) => one.jobId), wanted.map((one) => one.generation)],
  });
  return rows;
}

/** Where registered services are now, and what is sent with every call to them. */
export async function servicesByName(
  database: Queryable,
  team: string,
  names: readonly string[],
): Promise<Map<string, { baseUrl: string; headers: Record<string, string> }>> {
  const { rows } = await database.query<{ name: string; base_url: string; headers: Record<string, string> }>({
    name: 'services-by-name',
    text: 'SELECT name, base_url, headers FROM services WHERE team = $1 AND name = ANY ($2::text[])',
    values: [team, names],
  });
  return new Map(rows.map((row) => [row.name, { baseUrl: row.base_url, headers: row.headers }]));
}
