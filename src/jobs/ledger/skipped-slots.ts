/**
 * Slots of all jobs that did not run, newest first: single ones, which are rows, and stretches, which are one row each however many slots lie in them.
 * A stretch stands where it begins, or where the asked time begins when it reaches into that.
 */
import type { Queryable } from '../../postgres.ts';
import type { SkipReason } from './outcomes.ts';

export type SkippedQuery = {
  team: string;
  outcome?: readonly SkipReason[] | undefined;
  jobId?: string | undefined;
  /** Part of the job's name, any case. */
  q?: string | undefined;
  service?: string | undefined;
  category?: string | undefined;
  /** `k` (has the tag) or `k:v`; all must hold. */
  tag?: readonly string[] | undefined;
  queue?: string | undefined;
  /** Half-open. */
  from: Date;
  to: Date;
  limit: number;
  after?: SkippedKey | undefined;
};
/** Where a page ended: time, and what is unique at that time. */
export type SkippedKey = { at: string; id: string };

type SkippedRow = {
  at: Date;
  /** `at` to the microsecond: a Date would lose what a cursor needs. */
  at_text: string;
  id: string;
  job_id: string;
  job_name: string;
  outcome: string;
  slot: Date | null;
  until: Date | null;
  open: boolean;
  count: number | null;
  execution_id: string | null;
  decided_at: Date | null;
  freeze_id: string | null;
  calendar: string | null;
  by: string | null;
  note: string | null;
};

export type SkippedView = {
  /** `slot`: one. `range`: all slots from `slot` to `until`. */
  kind: 'slot' | 'range';
  jobId: string;
  jobName: string;
  outcome: string;
  slot: string;
  /** Of a range: its end, exclusive; null: it goes on, or it is a single slot. */
  until: string | null;
  /** Slots; null: not counted until the range ends. */
  count: number | null;
  executionId: string | null;
  decidedAt: string | null;
  freezeId: string | null;
  calendar: string | null;
  by: string | null;
  note: string | null;
};

/** A page, and where the next one begins. */
export async function skippedSlots(database: Queryable, query: SkippedQuery): Promise<{ items: SkippedView[]; next: SkippedKey | null }> {
  const values: unknown[] = [];
  const bind = (value: unknown, type: string) => `$${values.push(value)}::${type}`;
  const [team, from, to] = [bind(query.team, 'text'), bind(query.from, 'timestamptz'), bind(query.to, 'timestamptz')];
  const reasons = query.outcome && bind(query.outcome, 'text[]');
  const job = query.jobId === undefined ? null : bind(query.jobId, 'text');
  const queue = query.queue === undefined ? null : bind(query.queue, 'text');
  const limit = bind(query.limit + 1, 'integer');
  const ofJob = jobConditions(query, bind);
  const [atKey, idKey] = query.after ? [bind(query.after.at, 'timestamptz'), bind(query.after.id, 'text')] : [];
  const page = (at: string, id: string) => (atKey ? [`${at} <= ${atKey} AND (${at}, ${id}) < (${atKey}, ${idKey})`] : []);

  const single = [
    `e.team = ${team} AND e.status = 'skipped' AND e.slot IS NOT NULL AND e.partition_at >= ${from} AND e.partition_at < ${to}`,
    ...(reasons ? [`e.reason = ANY (${reasons})`] : []),
    ...(job ? [`e.job_id = ${job}`] : []),
    ...(queue ? [`e.queue = ${queue}`] : []),
    ...(ofJob.length > 0 ? [`EXISTS (SELECT 1 FROM jobs j WHERE j.id = e.job_id AND ${ofJob.join(' AND ')})`] : []),
    ...page('e.partition_at', 'e.id'),
  ];
  const rangeId = `g.job_id || ' ' || g.reason || ' ' || g.from_at::text`;
  const range = [
    // a pause of seconds, say, that no slot fell into
    'g.count IS DISTINCT FROM 0',
    ...(reasons ? [`g.reason = ANY (${reasons})`] : []),
    ...(job ? [`g.job_id = ${job}`] : []),
    ...(queue ? [`EXISTS (SELECT 1 FROM job_runtime r WHERE r.job_id = g.job_id AND r.queue = ${queue})`] : []),
    ...(ofJob.length > 0 ? [`EXISTS (SELECT 1 FROM jobs j WHERE j.id = g.job_id AND ${ofJob.join(' AND ')})`] : []),
  ];
  const ranges = (at: string, when: string) =>
    `(SELECT ${at} AS at, ${rangeId} AS id, g.job_id, NULL AS job_name, g.reason AS outcome, g.from_at AS slot, g.to_at AS until, true AS open, g.count,
             NULL AS execution_id, NULL::timestamptz AS decided_at, g.freeze_id, g.calendar, g.by, g.note
        FROM slot_ranges g WHERE ${[`g.team = ${team}`, when, ...range, ...page(at, rangeId)].join(' AND ')} ORDER BY 1 DESC, 2 DESC LIMIT ${limit})`;
  const { rows } = await database.query<SkippedRow>(
    `SELECT p.at, to_char(p.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at_text, p.id, p.job_id, coalesce(p.job_name, (SELECT j.name FROM jobs j WHERE j.id = p.job_id), p.job_id) AS job_name, p.outcome, p.slot, p.until, p.open,
            p.count, p.execution_id, p.decided_at, p.freeze_id, p.calendar, p.by, p.note
       FROM ((SELECT e.partition_at AS at, e.id, e.job_id, e.job_name, coalesce(e.reason, 'skipped') AS outcome, e.slot, NULL::timestamptz AS until, false AS open,
                     1 AS count, e.id AS execution_id, e.finished_at AS decided_at, NULL AS freeze_id, NULL AS calendar, NULL AS by, NULL AS note
                FROM job_executions e WHERE ${single.join(' AND ')} ORDER BY e.partition_at DESC, e.id DESC LIMIT ${limit})
             UNION ALL ${ranges('g.from_at', `g.from_at >= ${from} AND g.from_at < ${to}`)}
             UNION ALL ${ranges(`${from}`, `g.from_at < ${from} AND (g.to_at > ${from} OR g.to_at IS NULL)`)}) p
      ORDER BY p.at DESC, p.id DESC LIMIT ${limit}`,
    values,
  );
  const items = rows.slice(0, query.limit);
  const last = items.at(-1);
  return {
    items: items.map(skippedView),
    next: rows.length > query.limit && last ? { at: last.at_text, id: last.id } : null,
  };
}

/** Conditions on `jobs j`, for the filters that jobs have. */
export function jobConditions(
  { q, service, category, tag = [] }: Pick<SkippedQuery, 'q' | 'service' | 'category' | 'tag'>,
  bind: (value: unknown, type: string) => string,
): string[] {
  return [
    ...(q === undefined || q === '' ? [] : [`j.name ILIKE ${bind(`%${q.replaceAll(/[\\%_]/g, '\\$&')}%`, 'text')}`]),
    ...(service === undefined ? [] : [`j.service = ${bind(service, 'text')}`]),
    ...(category === undefined ? [] : [`j.category = ${bind(category, 'text')}`]),
    ...tag.map((one) => {
      const colon = one.indexOf(':');
      if (colon < 0) return `j.tags ? ${bind(one, 'text')}`;
      return `j.tags ->> ${bind(one.slice(0, colon), 'text')} = ${bind(one.slice(colon + 1), 'text')}`;
    }),
  ];
}

const skippedView = (row: SkippedRow): SkippedView => ({
  kind: row.open ? 'range' : 'slot',
  jobId: row.job_id,
  jobName: row.job_name,
  outcome: row.outcome,
  slot: (row.slot ?? row.at).toISOString(),
  until: row.until?.toISOString() ?? null,
  count: row.count,
  executionId: row.execution_id,
  decidedAt: row.decided_at?.toISOString() ?? null,
  freezeId: row.freeze_id,
  calendar: row.calendar,
  by: row.by,
  note: row.note,
});
