/** The rows of a month in the order in which they are archived: by team, job, time and id. Read in short statements, so that no snapshot is kept for hours. */
import type { Queryable } from '../../postgres.ts';

export type Line = { line: string; digest: bigint };
export type ExecutionLine = Line & { job: string; at: string; id: string };
/** Some executions of one team with their attempts. */
export type Page = { team: string; executions: ExecutionLine[]; attempts: Line[] };
/** Where an earlier writer came to. */
export type Position = { team: string; job: string; at: string; id: string };

/** Executions read at once: as many as have had few bytes, because each may have an input and a result of 256 KB. */
const PAGE_ROWS = 500;
const LEAST_ROWS = 10;
const PAGE_BYTES = 4 * 1024 * 1024;

type JobCount = { team: string; job: string; executions: number };

/** Jobs whose executions are read by one statement: several small ones, or one. */
function batchesOf(jobs: readonly JobCount[]): { team: string; jobs: string[] }[] {
  const batches: { team: string; jobs: string[]; rows: number }[] = [];
  for (const { team, job, executions } of jobs) {
    const last = batches.at(-1);
    if (last && last.team === team && last.rows + executions <= PAGE_ROWS) {
      last.jobs.push(job);
      last.rows += executions;
    } else batches.push({ team, jobs: [job], rows: executions });
  }
  return batches;
}

async function jobsOf(database: Queryable, table: string): Promise<JobCount[]> {
  const { rows } = await database.query<{ team: string; job_id: string; executions: string }>(
    'SELECT team, job_id, executions FROM archive_jobs($1)',
    [table],
  );
  return rows.map((row) => ({ team: row.team, job: row.job_id, executions: Number(row.executions) }));
}

/** @param after begins behind this execution; null: with the first. */
export async function* pagesOf(
  database: Queryable,
  tables: { executions: string; attempts: string | null },
  after: Position | null,
): AsyncGenerator<Page> {
  const jobs = await jobsOf(database, tables.executions);
  const from = after ? jobs.findIndex(({ team, job }) => team === after.team && job === after.job) : 0;
  // its job is not there any more only when rows were changed, which is found when everything is compared
  let position: { at: string; id: string } | null = after && from >= 0 ? after : null;
  let limit = LEAST_ROWS;
  for (const { team, jobs: batch } of batchesOf(jobs.slice(Math.max(from, 0)))) {
    let open = batch;
    while (open.length > 0) {
      const executions = await executionLines(database, tables.executions, team, open, position, limit);
      const last = executions.at(-1);
      position = null;
      if (!last) break;
      yield { team, executions, attempts: tables.attempts ? await attemptLines(database, tables.attempts, team, executions) : [] };
      if (executions.length < limit) break;
      const bytes = executions.reduce((sum, { line }) => sum + line.length, 0);
      limit = Math.min(PAGE_ROWS, Math.max(LEAST_ROWS, Math.floor((limit * PAGE_BYTES) / bytes / 2)));
      open = open.slice(open.indexOf(last.job));
      position = last;
    }
    position = null;
  }
}

async function executionLines(
  database: Queryable,
  table: string,
  team: string,
  jobs: readonly string[],
  after: { at: string; id: string } | null,
  limit: number,
): Promise<ExecutionLine[]> {
  const { rows } = await database.query<{ job_id: string; at: string; id: string; line: string; digest: string }>(
    'SELECT job_id, at, id, line, digest FROM archive_executions($1, $2, $3, $4, $5, $6)',
    [table, team, jobs, after?.at ?? null, after?.id ?? null, limit],
  );
  return rows.map((row) => ({ job: row.job_id, at: row.at, id: row.id, line: row.line, digest: BigInt(row.digest) }));
}

async function attemptLines(database: Queryable, table: string, team: string, executions: readonly ExecutionLine[]): Promise<Line[]> {
  const { rows } = await database.query<{ line: string; digest: string }>('SELECT line, digest FROM archive_attempts($1, $2, $3, $4)', [
    table,
    team,
    executions.map(({ at }) => at),
    executions.map(({ id }) => id),
  ]);
  return rows.map((row) => ({ line: row.line, digest: BigInt(row.digest) }));
}

/** A line of what has no execution: where it stands is what it begins with. */
export type LooseLine = Line & Position;

/** Attempts that belong to no execution; at most `limit`, which is more than there will ever be. */
export async function looseAttempts(
  database: Queryable,
  tables: { executions: string; attempts: string },
  limit: number,
): Promise<LooseLine[]> {
  const { rows } = await database.query<{ team: string; job_id: string; at: string; id: string; line: string; digest: string }>(
    'SELECT team, job_id, at, id, line, digest FROM archive_loose_attempts($1, $2, $3)',
    [tables.attempts, tables.executions, limit],
  );
  return rows.map((row) => ({ team: row.team, job: row.job_id, at: row.at, id: row.id, line: row.line, digest: BigInt(row.digest) }));
}

/** Stretches of slots that ended in a month, the next ones after a position (`id` is the reason). */
export async function rangesAfter(
  database: Queryable,
  { from, until, after, limit }: { from: Date; until: Date; after: Position | null; limit: number },
): Promise<LooseLine[]> {
  const { rows } = await database.query<{ team: string; job_id: string; at: string; reason: string; line: string; digest: string }>(
    'SELECT team, job_id, at, reason, line, digest FROM archive_ranges($1, $2, $3, $4, $5, $6, $7)',
    [from, until, after?.team ?? null, after?.job ?? null, after?.at ?? null, after?.id ?? null, limit],
  );
  return rows.map((row) => ({ team: row.team, job: row.job_id, at: row.at, id: row.reason, line: row.line, digest: BigInt(row.digest) }));
}
