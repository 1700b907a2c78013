/**
 * Creating many jobs in one statement: what job-insert.ts writes for one, for as many as there are. Each job has its own outcome; a clock that several of them
 * share is joined once. Those of one second, or of one timing where one asks for company, are each other's company.
 */
import type { Queryable } from '../postgres.ts';
import { COMPANY, isPoolable, OWN, SAME_SECOND } from './dispatch-choice.ts';
import { bucketPoolId, newGroupPoolId, partitionAtOf, pooledClockId } from './ids.ts';
import type { Draft, InsertOutcome } from './job-draft.ts';
import { membershipEnd } from './job-facts.ts';
import { checkAt, type InsertRow, outcomeOf } from './job-insert.ts';
import { slotRuleValues } from './job-write-store.ts';
import { durationMs } from './time/duration.ts';
import type { Timing } from './time/timing.ts';
import { marksToWrite } from './time/written-marks.ts';

// $1 team, $2 the jobs, $3 their timings, $4 the services they need, $5 marks of timings that have any. Names, clocks and timings are taken in order, so that two of these wait for each other, never in a ring.
const TEXT = `
  WITH known AS MATERIALIZED (
    SELECT s.name FROM services s WHERE s.team = $1 AND s.name = ANY ($4::text[]) ORDER BY s.name FOR KEY SHARE
  ), item AS MATERIALIZED (
    SELECT i.*, CASE WHEN i.services IS NULL THEN '{}' ELSE ARRAY(SELECT unnest(i.services) EXCEPT SELECT k.name FROM known k) END AS missing
      FROM ROWS FROM (json_to_recordset($2::json) AS (
             id text, name text, service text, category text, priority smallint, tags jsonb, state text, document json, own text, shared text, hash text,
             by text, request text, at timestamptz, next timestamptz, queue text, enabled boolean, overlap text, "catchUp" text, "window" bigint, "offset" integer,
             tries integer, "pauseAfter" integer, timeout bigint, wish text, poolable boolean, "check" timestamptz, "from" timestamptz, "to" timestamptz,
             once text, "onceAt" timestamptz, due timestamptz, bucket text, "group" text, certain text, reason text, services text[],
             gap text, repeat text, include text[], exclude text[], zone text, expect bigint))
           WITH ORDINALITY AS i (
             id, name, service, category, priority, tags, state, document, own, shared, hash,
             by, request, at, next, queue, enabled, overlap, catch_up, catch_up_window_ms, offset_s,
             tries, pause_after, timeout_ms, wish, poolable, check_at, start_at, end_at,
             once, once_at, due, bucket, fresh, certain, reason, services,
             dst_gap, dst_repeat, include_calendars, exclude_calendars, calendar_zone, expect_ms, nth)
  ), company AS MATERIALIZED (
    SELECT s.shared FROM (SELECT i.shared, bool_or(i.certain = 'pooled') AS asked FROM item i WHERE i.own IS NOT NULL GROUP BY i.shared) s
     WHERE s.asked OR EXISTS (SELECT 1 FROM clock_members m WHERE m.clock_id = s.shared AND m.valid_to = 'infinity')
  ), second AS MATERIALIZED (
    SELECT s.bucket, can_wait_in_bucket(s.due) AS can_wait, can_wait_in_bucket(s.due) AND (s.count > 1 OR is_second_taken($1, s.queue, s.due, '')) AS taken
      FROM (SELECT i.bucket, i.queue, min(i.due) AS due, count(*) AS count FROM item i WHERE i.once IS NOT NULL GROUP BY i.bucket, i.queue) s
  ), chosen AS MATERIALIZED (
    SELECT i.nth, CASE WHEN i.certain IS NOT NULL THEN i.certain WHEN c.shared IS NOT NULL OR s.taken THEN 'pooled' ELSE 'dedicated' END AS dispatch, s.can_wait
      FROM item i LEFT JOIN company c ON c.shared = i.shared AND i.own IS NOT NULL LEFT JOIN second s ON s.bucket = i.bucket
  ), place AS MATERIALIZED (
    SELECT i.*, c.dispatch,
           coalesce(i.reason, CASE WHEN c.dispatch = 'dedicated' THEN '${OWN.reason}' WHEN i.own IS NOT NULL THEN '${COMPANY.reason}' ELSE '${SAME_SECOND.reason}' END) AS why,
           CASE WHEN i.own IS NULL THEN NULL WHEN c.dispatch = 'pooled' THEN i.shared ELSE i.own END AS clock_id,
           CASE WHEN i.once IS NULL OR c.dispatch = 'dedicated' THEN i.once WHEN c.can_wait THEN i.bucket ELSE i.fresh END AS workflow_id
      FROM item i JOIN chosen c ON c.nth = i.nth
  ), job AS MATERIALIZED (
    INSERT INTO jobs (id, team, name, service, category, priority, tags, state, generation, document, clock_id, created_by, created_at, updated_at)
    SELECT p.id, $1, p.name, p.service, p.category, p.priority, p.tags, p.state, 1, p.document, p.clock_id, p.by, p.at, p.at
      FROM place p WHERE p.missing = '{}' ORDER BY p.name, p.nth
    ON CONFLICT (team, name) WHERE deleted_at IS NULL DO NOTHING
    RETURNING id
  ), made AS MATERIALIZED (
    SELECT p.* FROM place p JOIN job j ON j.id = p.id ORDER BY p.nth
  ), joined AS MATERIALIZED (
    SELECT s.clock_id, s.first, j.generation, j.observed_generation, j.raised
      FROM (SELECT m.clock_id, min(m.nth) AS first, min(m.hash) AS hash, min(m.queue) AS queue, min(m.next) AS next
              FROM made m WHERE m.clock_id <> m.own GROUP BY m.clock_id ORDER BY m.clock_id) s,
           LATERAL join_pooled_clock($1, s.clock_id, s.hash, s.queue, s.next, statement_timestamp()) j
  ), runtime AS (
    INSERT INTO job_runtime (job_id, team, job_name, generation, priority, next_run_at, queue, enabled, overlap, catch_up, catch_up_window_ms, offset_s, max_attempts,
                             pause_after_failures, timeout_ms, dispatch, dispatch_reason, dispatch_wish, poolable,
                             dst_gap, dst_repeat, include_calendars, exclude_calendars, calendar_zone, expect_ms, next_run_unsure)
    SELECT m.id, $1, m.name, 1, m.priority, m.next, m.queue, m.enabled, m.overlap, m.catch_up, m.catch_up_window_ms, m.offset_s, m.tries,
           m.pause_after, m.timeout_ms, m.dispatch, m.why, m.wish, m.poolable,
           m.dst_gap, m.dst_repeat, m.include_calendars, m.exclude_calendars, m.calendar_zone, m.expect_ms, m.calendar_zone IS NOT NULL FROM made m
  ), revision AS (
    INSERT INTO job_revisions (job_id, generation, team, document, changed_by, created_at) SELECT m.id, 1, $1, m.document, m.by, m.at FROM made m
  ), audit AS (
    INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after, request_id)
    SELECT $1, m.by, 'job.created', 'job', m.id, m.document, m.request FROM made m
  ), timing AS (
    INSERT INTO timings (hash, timing, marks_until)
    SELECT t.hash, t.timing, t.until FROM json_to_recordset($3::json) AS t (hash text, timing json, until timestamptz)
     WHERE EXISTS (SELECT 1 FROM made m WHERE m.hash = t.hash AND m.own IS NOT NULL) ORDER BY t.hash
    ON CONFLICT DO NOTHING RETURNING hash
  ), mark AS (
    INSERT INTO timing_marks (timing_hash, slot, kind, fired)
    SELECT n.hash, to_timestamp(m.slot), m.kind, m.fired
      FROM timing n JOIN json_to_recordset($5::json) AS t (hash text, marks json) ON t.hash = n.hash,
           json_to_recordset(t.marks) AS m (slot bigint, kind text, fired boolean)
  ), clock AS (
    INSERT INTO clocks (id, team, kind, timing_hash, queue, next_check_at)
    SELECT m.id, $1, 'dedicated', m.hash, m.queue, m.check_at FROM made m WHERE m.clock_id = m.own
  ), member AS (
    INSERT INTO clock_members (job_id, clock_id, team, generation, timing_hash, valid_from, valid_to)
    SELECT m.id, m.clock_id, $1, 1, m.hash, v.valid_from, greatest(v.valid_from, coalesce(m.end_at, 'infinity'))
      FROM made m, LATERAL (SELECT greatest(statement_timestamp(), m.start_at) AS valid_from) v WHERE m.own IS NOT NULL
  ), run AS (
    INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch,
                                workflow_id, requested_by)
    SELECT m.once_at, m.once, $1, m.id, m.name, 1, 'once', m.due, m.due, 'queued', m.tries, m.priority, m.queue, m.dispatch, m.workflow_id, m.by
      FROM made m WHERE m.once IS NOT NULL
  )
  SELECT p.nth, j.id IS NOT NULL AS created, p.missing, p.dispatch, p.why AS reason, p.clock_id, p.workflow_id,
         s.generation, s.observed_generation, s.raised AND s.first = p.nth AS raised
    FROM place p LEFT JOIN job j ON j.id = p.id LEFT JOIN joined s ON s.clock_id = p.clock_id`;

/**
 * Inserts jobs of one team and all that belongs to them; those whose name is taken (also by one before them) or whose services are missing are left out.
 * @param database the pool (commits at once), or a transaction.
 * @returns outcomes in the order of the drafts. Of those that have raised a shared clock together, the first one says so.
 */
export async function jobsInsert(database: Queryable, drafts: readonly Draft[]): Promise<InsertOutcome[]> {
  const timings = new Map<string, Timing>();
  for (const { facts } of drafts) if (facts.timingHash) timings.set(facts.timingHash, facts.timing!);
  const written = [...timings].map(([hash, timing]) => ({ hash, timing, ...marksToWrite(timing, drafts[0]!.job.createdAt) }));
  const groups = new Map<string, string>();
  const { rows } = await database.query<InsertRow & { nth: string }>({
    name: 'jobs-insert',
    text: TEXT,
    values: [
      drafts[0]!.job.team,
      JSON.stringify(drafts.map((draft) => itemOf(draft, groups))),
      JSON.stringify(written.map(({ hash, timing, until }) => ({ hash, timing, until }))),
      [...new Set(drafts.flatMap((draft) => draft.services))],
      `[${written.flatMap(({ hash, marks }) => (marks === null ? [] : [`{"hash":${JSON.stringify(hash)},"marks":${marks}}`])).join(',')}]`,
    ],
  });
  const outcomes = new Array<InsertOutcome>(drafts.length);
  for (const row of rows) outcomes[Number(row.nth) - 1] = outcomeOf(row);
  return outcomes;
}

/** Without what is not said: an absent member is null. Those of one second share a pool. */
function itemOf({ caller, job, facts, services, once, certain }: Draft, groups: Map<string, string>) {
  const { document } = job;
  const { window } = facts;
  const [gap, repeat, include, exclude, zone, expect] = slotRuleValues(document);
  const bucket = once ? bucketPoolId(job.team, facts.queue, once.dueAt) : undefined;
  if (bucket && !groups.has(bucket)) groups.set(bucket, newGroupPoolId(facts.queue));
  return {
    id: job.id,
    name: document.name,
    service: document.service,
    category: document.category,
    priority: document.priority,
    tags: document.tags,
    state: job.state,
    document,
    own: job.clockId ?? undefined,
    shared: facts.timingHash ? pooledClockId(facts.timingHash) : undefined,
    hash: facts.timingHash ?? undefined,
    by: caller.name,
    request: caller.requestId,
    at: job.createdAt,
    next: job.nextRunAt ?? undefined,
    queue: facts.queue,
    enabled: document.enabled,
    overlap: document.overlap,
    catchUp: document.catchUp.policy,
    window: durationMs(document.catchUp.window),
    offset: facts.offsetS,
    tries: document.retry.maxAttempts,
    pauseAfter: document.pauseAfterFailures,
    timeout: durationMs(document.timeout),
    wish: document.dispatch,
    poolable: isPoolable(document),
    check: checkAt(job) ?? undefined,
    from: window.startAt ?? undefined,
    to: membershipEnd(window) ?? undefined,
    once: once?.id,
    onceAt: once ? (partitionAtOf(once.id) ?? undefined) : undefined,
    due: once?.dueAt,
    bucket,
    group: bucket && groups.get(bucket),
    certain: certain?.dispatch,
    reason: certain?.reason,
    services: services.length > 0 ? services : undefined,
    gap,
    repeat: repeat ?? undefined,
    include: include ?? undefined,
    exclude: exclude ?? undefined,
    zone: zone ?? undefined,
    expect: expect ?? undefined,
  };
}
