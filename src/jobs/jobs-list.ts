/**
 * The list of jobs: one statement, whose items Postgres writes as JSON text, so that a page goes from the table to the socket without being parsed.
 * Paging is by key: what comes after the last item seen, so that no page skips or repeats a job that stays where it is while others change.
 */
import { hash } from 'node:crypto';
import type { Pool } from '../postgres.ts';
import { DISPATCH_REASON, SHOWN_STATE, SYNC } from './job-store.ts';

export const JOB_SORTS = ['name', '-name', 'createdAt', '-createdAt', 'nextRunAt', '-nextRunAt'] as const;
export type JobSort = (typeof JOB_SORTS)[number];

/** Sort column (as Postgres writes it; null for a job without a next run) and id of the last item of a page. */
export type CursorKey = { value: string | null; id: string };

export type JobFilter = {
  state?: string | undefined;
  team?: string | undefined;
  service?: string | undefined;
  category?: string | undefined;
  priority?: number | undefined;
  /** `k` (has the tag) or `k:v`; all must hold. */
  tag?: readonly string[] | undefined;
  createdBy?: string | undefined;
  lastOutcome?: string | undefined;
  /** Part of the name, in any case. */
  q?: string | undefined;
};
export type JobQuery = JobFilter & { sort: JobSort; limit: number; after?: CursorKey | undefined };

export type JobPage = { itemsJson: string[]; next: CursorKey | null };

/** RFC 3339 in UTC with milliseconds, as `Date.toISOString` writes it. */
const iso = (column: string) => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
/** The same without milliseconds when there are none. */
const shortIso = (column: string) => `replace(${iso(column)}, '.000Z', 'Z')`;
const textOr = (expression: string) => `coalesce(to_json(${expression})::text, 'null')`;

/** One item: the columns, then the stored document behind them as it is. Same keys as GET of one job but `nextRuns` and `frozen`. */
const ITEM = `'{"id":"' || j.id || '",' || substr(j.document::text, 2, length(j.document::text) - 2)
    || ',"generation":' || j.generation || ',"state":"' || ${SHOWN_STATE} || '","sync":"' || ${SYNC} || '","pause":' || coalesce(j.pause::text, 'null')
    || ',"createdBy":' || to_json(j.created_by)::text || ',"createdAt":"' || ${iso('j.created_at')} || '","updatedAt":"' || ${iso('j.updated_at')}
    || '","nextRunAt":' || coalesce('"' || ${shortIso('r.next_run_at')} || '"', 'null') || ',"lastOutcome":' || ${textOr('r.last_outcome')}
    || ',"lastExecution":' || coalesce(r.last_execution::text, 'null') || ',"dispatchChoice":'
    || '{"dispatch":"' || r.dispatch || '","reason":' || to_json(${DISPATCH_REASON})::text || '}}'`;

const SORT_COLUMNS = { name: 'j.name', createdAt: 'j.created_at', nextRunAt: 'r.next_run_at' } as const;
const SORT_TYPES = { name: 'text', createdAt: 'timestamptz', nextRunAt: 'timestamptz' } as const;

/** SHOWN_STATE as conditions on plain columns, of which the planner has statistics. */
function stateIs(state: string, bound: string): string {
  const over = 'j.clock_id IS NOT NULL AND r.next_run_at IS NULL';
  if (state === 'active') return `j.state = ${bound} AND NOT (${over})`;
  if (state === 'finished') return `(j.state = ${bound} OR (j.state = 'active' AND ${over}))`;
  return `j.state = ${bound}`;
}

/** Matches the text itself: `%`, `_` and the escape sign mean nothing. */
const likePattern = (text: string) => `%${text.replaceAll(/[\\%_]/g, '\\$&')}%`;

type Built = { text: string; values: unknown[] };

/** Which of a team's jobs are meant, as conditions on `jobs j` and `job_runtime r`. `bind` takes a value and its type, and answers its place. */
export function jobConditions(team: string, query: JobFilter, bind: (value: unknown, type: string) => string): string[] {
  const where = [`j.team = ${bind(team, 'text')}`];
  where.push(query.state === 'deleting' ? 'j.deleted_at IS NOT NULL' : 'j.deleted_at IS NULL');
  if (query.state !== undefined && query.state !== 'deleting') where.push(stateIs(query.state, bind(query.state, 'text')));
  if (query.team !== undefined) where.push(`j.team = ${bind(query.team, 'text')}`);
  if (query.service !== undefined) where.push(`j.service = ${bind(query.service, 'text')}`);
  if (query.category !== undefined) where.push(`j.category = ${bind(query.category, 'text')}`);
  if (query.priority !== undefined) where.push(`j.priority = ${bind(query.priority, 'smallint')}`);
  if (query.createdBy !== undefined) where.push(`j.created_by = ${bind(query.createdBy, 'text')}`);
  if (query.lastOutcome !== undefined) where.push(`r.last_outcome = ${bind(query.lastOutcome, 'text')}`);
  if (query.q !== undefined && query.q !== '') where.push(`j.name ILIKE ${bind(likePattern(query.q), 'text')}`);
  for (const tag of query.tag ?? []) {
    const colon = tag.indexOf(':');
    if (colon < 0) where.push(`j.tags ? ${bind(tag, 'text')}`);
    else where.push(`j.tags ->> ${bind(tag.slice(0, colon), 'text')} = ${bind(tag.slice(colon + 1), 'text')}`);
  }
  return where;
}

/** The statement of one page. Its text depends on which filters are there, never on their values, so that it is planned once. */
export function jobsListStatement(team: string, query: JobQuery): Built {
  const values: unknown[] = [];
  const bind = (value: unknown, type: string) => `$${values.push(value)}::${type}`;
  const where = jobConditions(team, query, bind);

  const descending = query.sort.startsWith('-');
  const field = (descending ? query.sort.slice(1) : query.sort) as keyof typeof SORT_COLUMNS;
  const column = SORT_COLUMNS[field];
  const id = field === 'nextRunAt' ? 'r.job_id' : 'j.id';
  const direction = descending ? 'DESC' : 'ASC';
  const order = `ORDER BY ${column} ${direction}, ${id} ${direction}`;
  // The page is found first, with no more tables than its filters need; only its own rows are joined and written as JSON.
  const page = (conditions: string[], limit: string) => {
    const runtime = [...conditions, column].some((text) => /\br\./.test(text))
      ? 'JOIN job_runtime r ON r.job_id = j.id AND r.team = $1::text'
      : '';
    return `SELECT ${ITEM} AS item, ${column}::text AS value, j.id AS id
      FROM (SELECT j.* FROM jobs j ${runtime} WHERE ${conditions.join(' AND ')} ${order} LIMIT ${limit}) j
      JOIN job_runtime r ON r.job_id = j.id LEFT JOIN clocks c ON c.id = coalesce(j.clock_id, j.id) ${order}`;
  };

  const { after } = query;
  const sign = descending ? '<' : '>';
  const key =
    after && after.value !== null
      ? [`(${column}, ${id}) ${sign} (${bind(after.value, SORT_TYPES[field])}, ${bind(after.id, 'text')})`]
      : after
        ? ['r.next_run_at IS NULL', `r.job_id ${sign} ${bind(after.id, 'text')}`]
        : [];
  const limit = bind(query.limit + 1, 'integer');
  // Jobs without a next run come last. The index has them at its end too, but only forwards: elsewhere they are a branch of their own.
  const oneWalk = field !== 'nextRunAt' || (after ? after.value === null : !descending);
  if (oneWalk) return { text: page([...where, ...key], limit), values };
  const dated = page([...where, 'r.next_run_at IS NOT NULL', ...key], limit);
  const undated = page([...where, 'r.next_run_at IS NULL'], limit);
  return {
    text: `SELECT * FROM (SELECT * FROM (${dated}) dated UNION ALL SELECT * FROM (${undated}) undated) page LIMIT ${limit}`,
    values,
  };
}

/** Reads one page. */
export async function jobsList(pool: Pool, team: string, query: JobQuery): Promise<JobPage> {
  const { text, values } = jobsListStatement(team, query);
  const name = `jobs-list-${hash('sha256', text, 'base64url').slice(0, 16)}`;
  const { rows } = await pool.query<{ item: string; value: string | null; id: string }>({ name, text, values });
  const items = rows.slice(0, query.limit);
  const last = items.at(-1);
  return {
    itemsJson: items.map((row) => row.item),
    next: rows.length > query.limit && last ? { value: last.value, id: last.id } : null,
  };
}
