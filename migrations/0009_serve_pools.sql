-- Serving a pool: the same admit and claim as 0003, 0004 and 0006 for many rows in one statement (semantics.md 3, 11-14, 17).
-- A pool's rows are cut into ranges of at most a few hundred; no two calls that are under way at once have a row in common.

-- How the members of a slot are cut into ranges of job ids, each of one priority, most urgent first. `later_ms`: how long after this the last one is due, at least 0.
CREATE FUNCTION plan_pool_slot(p_team text, p_clock text, p_nominal timestamptz, p_size integer)
RETURNS TABLE (priority smallint, from_id text, to_id text, members integer, later_ms double precision, planned_at text) STABLE LANGUAGE sql AS $$
  SELECT m.priority, min(m.job_id), max(m.job_id), count(*)::integer, 
         greatest(0, extract(epoch FROM p_nominal + make_interval(secs => max(m.offset_s)) - now()) * 1000), now()::text
    FROM (SELECT r.priority, m.job_id, r.offset_s, (row_number() OVER (PARTITION BY r.priority ORDER BY m.job_id) - 1) / p_size AS part
            FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
           WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to) m
   GROUP BY m.priority, m.part ORDER BY m.priority, m.part
$$;

-- The same for the unfinished rows of a pool; `ahead`: all of them are due later than p_lead from now. Ranges that are not come first.
CREATE FUNCTION plan_pool(p_team text, p_pool text, p_size integer, p_lead interval)
RETURNS TABLE (priority smallint, from_id text, to_id text, members integer, later_ms double precision, planned_at text, due_at timestamptz, ahead boolean) STABLE LANGUAGE sql AS $$
  SELECT u.priority, min(u.id), max(u.id), count(*)::integer, greatest(0, extract(epoch FROM max(u.due_at) - now()) * 1000), now()::text, min(u.due_at), u.ahead
    FROM (SELECT e.priority, e.id, e.due_at, e.due_at > now() + p_lead AS ahead,
                 (row_number() OVER (PARTITION BY e.due_at > now() + p_lead, e.priority ORDER BY e.id) - 1) / p_size AS part
            FROM job_executions e
           WHERE e.workflow_id = p_pool AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.team = p_team AND NOT e.waiting) u
   GROUP BY u.ahead, u.priority, u.part ORDER BY u.ahead, u.priority, u.part
$$;

-- When the next row of a range comes due that waits for its time: exactly, and milliseconds from now. Rows due until p_after have been seen.
CREATE FUNCTION next_due_of_pool(p_team text, p_pool text, p_priority smallint, p_from text, p_to text, p_after timestamptz)
RETURNS TABLE (due_at text, in_ms double precision) STABLE LANGUAGE sql AS $$
  SELECT min(e.due_at)::text, extract(epoch FROM min(e.due_at) - clock_timestamp()) * 1000
    FROM job_executions e
   WHERE e.workflow_id = p_pool AND e.dispatch = 'pooled' AND e.status = 'queued' AND e.id >= p_from AND e.id <= p_to
     AND e.team = p_team AND e.priority = p_priority AND NOT e.waiting AND e.due_at > p_after
$$;

-- Tells of claims whose call has no outcome that its worker died. The caller has claimed the rows anew, so that `attempt` is one ahead.
CREATE FUNCTION note_lost(p_team text, p_rows job_executions[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, error)
  SELECT c.partition_at, c.id, c.attempt - 1, p_team, 'lost', c.started_at, clock_timestamp(),
         json_build_object('type', 'lost', 'message', 'the worker ended before it could record an outcome', 'attempt', c.attempt - 1)
    FROM unnest(p_rows) c
  ON CONFLICT DO NOTHING
$$;

-- Claims the due rows of a range of a pool, for the run that serves it: queued ones, and those whose call has no outcome any more (nobody else serves this range).
-- One-offs are admitted with it. What can't simply be claimed is refused: its job has to be locked first, and no job is ever locked by who holds rows (refuse_pool).
--   p_ids    only these, and only those that are queued (they were put back); null: the whole range
--   p_after  only what has come due since, and only what is queued; null: whatever is due
-- decision: run (claimed: make the call now) | refused (only its id is told)
CREATE FUNCTION begin_pool(
  p_team text, p_pool text, p_run_id text, p_chunk text, p_priority smallint, p_from text, p_to text, p_ids text[], p_after timestamptz
) RETURNS TABLE (decision text, id text, attempt integer, tries integer, due_at timestamptz, slot timestamptz, generation bigint, job_name text, input json, has_input boolean,
               timeout_ms bigint, max_attempts integer, trigger text, started_at timestamptz, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now     timestamptz;
  v_lost    job_executions[];
  v_rows    job_executions[];
  v_locked  text[];
BEGIN
  SELECT array_agg(l.job_id) INTO v_locked FROM (
    SELECT r.job_id FROM job_runtime r WHERE r.job_id IN (
      SELECT e.job_id FROM job_executions e
       WHERE e.workflow_id = p_pool AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.id >= p_from AND e.id <= p_to
         AND (p_after IS NULL OR e.due_at > p_after)
         -- who is not simply claimed: their jobs are locked before any row is, as everywhere
         AND (NOT e.counted OR e.cancel_requested_at IS NOT NULL
              OR (e.status = 'queued' AND EXISTS (SELECT 1 FROM job_runtime b WHERE b.job_id = e.job_id AND (b.paused_at IS NOT NULL OR NOT b.enabled)))))
    ORDER BY r.job_id FOR UPDATE) l;
  v_now := clock_timestamp();

  WITH due AS MATERIALIZED (
    SELECT e.partition_at, e.id, e.attempt, e.counted, CASE WHEN e.pinned OR e.status = 'running' THEN e.generation ELSE r.generation END AS generation
      FROM job_executions e CROSS JOIN LATERAL (SELECT r.* FROM job_runtime r WHERE r.job_id = e.job_id LIMIT 1) r
     WHERE e.workflow_id = p_pool AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.id >= p_from AND e.id <= p_to
       AND e.team = p_team AND e.priority = p_priority AND NOT e.waiting AND e.cancel_requested_at IS NULL AND e.due_at <= v_now
       AND (p_ids IS NULL OR (e.status = 'queued' AND e.id = ANY (p_ids)))
       AND (p_after IS NULL OR (e.status = 'queued' AND e.due_at > p_after))
       AND (e.status = 'running' OR NOT (
             (r.paused_at IS NOT NULL AND (e.trigger IN ('schedule', 'once') OR r.block_manual)) OR (NOT r.enabled AND e.trigger IN ('schedule', 'once'))))
       -- who joined since then is refused: the policy is asked under the job's lock
       AND (e.counted OR (e.job_id IN (SELECT unnest(v_locked)) AND (r.overlap = 'allow_all' OR r.active + r.waiting <= 0) AND v_now <= e.slot + late_after()))
  ), claimed AS (
    UPDATE job_executions e
       SET run_id = p_run_id, chunk = p_chunk, status = 'running', attempt = e.attempt + 1, started_at = coalesce(e.started_at, v_now), counted = true,
           generation = d.generation
      FROM due d
     WHERE e.partition_at = d.partition_at AND e.id = d.id AND e.workflow_id = p_pool AND e.status IN ('queued', 'running') AND e.attempt = d.attempt
       AND e.cancel_requested_at IS NULL
    RETURNING e, d.counted AS was_counted
  ), admitted AS (
    UPDATE job_runtime r SET active = r.active + 1, next_run_at = NULL FROM claimed c WHERE NOT c.was_counted AND r.job_id = (c.e).job_id
  )
  SELECT array_agg(c.e), array_agg(c.e) FILTER (WHERE (c.e).attempt > 1) INTO v_rows, v_lost FROM claimed c;
  IF v_lost IS NOT NULL THEN PERFORM note_lost(p_team, v_lost); END IF;
  RETURN QUERY
    SELECT 'run', e.id, e.attempt, e.tries, e.due_at, e.slot, e.generation, e.job_name, e.input, e.has_input, e.timeout_ms, e.max_attempts, e.trigger, e.started_at, NULL::json
      FROM unnest(v_rows) e;

  RETURN QUERY
    SELECT 'refused', e.id, NULL::integer, NULL::integer, NULL::timestamptz, NULL::timestamptz, NULL::bigint, NULL::text, NULL::json, NULL::boolean, NULL::bigint, NULL::integer,
           NULL::text, NULL::timestamptz, NULL::json
      FROM job_executions e
     WHERE e.workflow_id = p_pool AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.id >= p_from AND e.id <= p_to
       AND e.team = p_team AND e.priority = p_priority AND NOT e.waiting AND e.due_at <= v_now AND (e.status = 'queued' OR e.cancel_requested_at IS NOT NULL)
       AND (p_ids IS NULL OR e.id = ANY (p_ids)) AND (p_after IS NULL OR e.due_at > p_after)
     ORDER BY e.id;
END $$;

-- Says of rows that begin_pool refused what becomes of them, one by one and under the lock of their jobs: cancelled, paused, skipped by overlap, waiting; or claimed after all.
-- decision: run (claimed: make the call now) | stopped (ended, or is somebody else's; `released` may go on). No row: it waits, was skipped, or was begun elsewhere meanwhile.
CREATE FUNCTION refuse_pool(p_team text, p_pool text, p_run_id text, p_chunk text, p_partitions timestamptz[], p_ids text[], p_buffer_limit integer)
RETURNS TABLE (decision text, id text, attempt integer, tries integer, due_at timestamptz, slot timestamptz, generation bigint, job_name text, input json, has_input boolean,
               timeout_ms bigint, max_attempts integer, trigger text, started_at timestamptz, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row     record;
  v_admit   record;
  v_claim   record;
BEGIN
  PERFORM 1 FROM job_runtime r WHERE r.team = p_team AND r.job_id IN (SELECT left(p.id, 40) FROM unnest(p_ids) AS p (id)) ORDER BY r.job_id FOR UPDATE;
  FOR v_row IN
    SELECT e.partition_at, e.id, e.counted FROM unnest(p_partitions, p_ids) AS p (partition_at, id)
      JOIN job_executions e ON e.partition_at = p.partition_at AND e.id = p.id
     WHERE e.workflow_id = p_pool AND e.team = p_team AND e.status IN ('queued', 'running') AND NOT e.waiting
     ORDER BY e.id
  LOOP
    IF NOT v_row.counted THEN
      SELECT * INTO v_admit FROM admit_queued(p_team, v_row.partition_at, v_row.id, p_pool, p_run_id, p_buffer_limit);
      IF v_admit.decision IS DISTINCT FROM 'run' THEN
        IF v_admit.decision = 'wait' THEN
          UPDATE job_executions e SET dispatch = 'dedicated', workflow_id = e.id, run_id = NULL WHERE e.partition_at = v_row.partition_at AND e.id = v_row.id;
        END IF;
        CONTINUE;
      END IF;
    END IF;
    UPDATE job_executions e SET run_id = p_run_id, chunk = p_chunk
     WHERE e.partition_at = v_row.partition_at AND e.id = v_row.id AND e.workflow_id = p_pool AND (e.status = 'queued' OR e.cancel_requested_at IS NOT NULL);
    IF NOT FOUND THEN CONTINUE; END IF;
    SELECT c.*, e.tries AS tries_done INTO v_claim
      FROM job_executions e, LATERAL claim_execution(p_team, e.partition_at, e.id, p_run_id, e.tries + 1) c
     WHERE e.partition_at = v_row.partition_at AND e.id = v_row.id;
    RETURN QUERY
      SELECT CASE WHEN v_claim.verdict = 'run' THEN 'run' ELSE 'stopped' END, v_row.id, v_claim.attempt, v_claim.tries_done, v_claim.due_at, v_claim.slot,
             v_claim.generation, v_claim.job_name, v_claim.input, v_claim.has_input, v_claim.timeout_ms, v_claim.max_attempts, v_claim.trigger, v_claim.started_at, v_claim.released;
  END LOOP;
END $$;

-- True when a job was changed after a time; the changer's clock may be a little behind.
CREATE FUNCTION job_has_changed(p_job text, p_since timestamptz) RETURNS boolean STABLE LANGUAGE sql
  RETURN EXISTS (SELECT 1 FROM jobs j WHERE j.id = p_job AND j.updated_at > p_since - interval '2 seconds');

-- Admits a range of members of a pooled clock's slot, and claims those that are due at once; decisions as admit_slot makes them, and the same when the
-- range was admitted before: then its rows are claimed as begin_pool claims them.
--   p_planned_at  when the range was planned: a member whose priority was changed since is in the range of its old one, which must not lose it
CREATE FUNCTION begin_pool_slot(
  p_team text, p_clock text, p_nominal timestamptz, p_successor timestamptz, p_pool text, p_run_id text, p_chunk text, p_priority smallint, p_from text, p_to text,
  p_planned_at timestamptz,
  p_buffer_limit integer
) RETURNS TABLE (decision text, id text, attempt integer, tries integer, due_at timestamptz, slot timestamptz, generation bigint, job_name text, input json, has_input boolean,
                 timeout_ms bigint, max_attempts integer, trigger text, started_at timestamptz, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now   timestamptz;
  v_late  boolean;
  v_text  text := slot_text(p_nominal);
  v_job   record;
BEGIN
  PERFORM 1 FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
    WHERE m.clock_id = p_clock AND m.team = p_team AND m.job_id >= p_from AND m.job_id <= p_to AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
      AND (r.priority = p_priority OR job_has_changed(r.job_id, p_planned_at))
    ORDER BY r.job_id FOR UPDATE OF r;
  v_now := clock_timestamp();
  v_late := v_now > p_nominal + late_after();

  -- an earlier run of this slot may have admitted them
  RETURN QUERY SELECT * FROM begin_pool(p_team, p_pool, p_run_id, p_chunk, p_priority, p_from || '-' || v_text, p_to || '-' || v_text, NULL, NULL);

  FOR v_job IN
    SELECT r.job_id, r.overlap FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.job_id >= p_from AND m.job_id <= p_to AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
       AND r.overlap IN ('cancel_other', 'terminate_other') AND r.active + r.waiting > 0 AND r.paused_at IS NULL AND r.enabled AND NOT v_late
       AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE e.partition_at = p_nominal AND e.id = r.job_id || '-' || v_text)
  LOOP
    PERFORM make_room(p_team, v_job.job_id, v_job.overlap, '');
  END LOOP;

  RETURN QUERY
  WITH verdicts AS (
    SELECT r.job_id, r.job_id || '-' || v_text AS id, r.job_name, r.generation, p_nominal + make_interval(secs => r.offset_s) AS due_at, r.max_attempts, r.queue, m.valid_to,
           CASE
             WHEN r.paused_at IS NOT NULL OR NOT r.enabled THEN 'paused'
             WHEN v_late AND (r.catch_up = 'none' OR p_nominal < v_now - make_interval(secs => r.catch_up_window_ms / 1000.0)
                              OR (r.catch_up = 'last' AND p_successor <= v_now AND p_successor < m.valid_to)) THEN 'missed'
             ELSE overlap_verdict(r.overlap, r.active, r.waiting, p_buffer_limit)
           END AS verdict
      FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.job_id >= p_from AND m.job_id <= p_to AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
       AND (r.priority = p_priority OR job_has_changed(r.job_id, p_planned_at))
       AND NOT EXISTS (
         SELECT 1 FROM slot_ranges s
          WHERE s.job_id = r.job_id AND s.from_at <= p_nominal AND (s.to_at IS NULL OR p_nominal < s.to_at))
       -- where all late slots are to run in slot order, the controller admits them, in one pass (as in admit_slot)
       AND NOT (v_late AND r.catch_up = 'all' AND r.overlap <> 'allow_all')
  ), inserted AS (
    INSERT INTO job_executions AS e (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, waiting, counted, reason,
                                     attempt, started_at, max_attempts, priority, queue, dispatch, workflow_id, run_id, chunk, created_at, finished_at)
    SELECT p_nominal, v.id, p_team, v.job_id, v.job_name, v.generation, 'schedule', p_nominal, v.due_at,
           CASE WHEN v.verdict = 'run' AND v.due_at <= v_now THEN 'running' WHEN v.verdict IN ('run', 'wait') THEN 'queued' ELSE 'skipped' END,
           v.verdict = 'wait', v.verdict IN ('run', 'wait'), CASE WHEN v.verdict NOT IN ('run', 'wait') THEN v.verdict END,
           (v.verdict = 'run' AND v.due_at <= v_now)::integer, CASE WHEN v.verdict = 'run' AND v.due_at <= v_now THEN v_now END,
           v.max_attempts, p_priority, v.queue, CASE WHEN v.verdict = 'wait' THEN 'dedicated' ELSE 'pooled' END,
           CASE WHEN v.verdict = 'wait' THEN v.id ELSE p_pool END, CASE WHEN v.verdict = 'run' THEN p_run_id END,
           CASE WHEN v.verdict = 'run' AND v.due_at <= v_now THEN p_chunk END, v_now, CASE WHEN v.verdict NOT IN ('run', 'wait') THEN v_now END
      FROM verdicts v
    ON CONFLICT DO NOTHING
    RETURNING e.job_id, e.id, e.waiting, e.counted, e.status, e.attempt, e.tries, e.due_at, e.generation, e.job_name, e.max_attempts
  ), counted AS (
    UPDATE job_runtime r
       SET active = r.active + (i.counted AND NOT i.waiting)::integer,
           waiting = r.waiting + (i.counted AND i.waiting)::integer,
           next_run_at = CASE WHEN r.next_run_at <= p_nominal THEN CASE WHEN p_successor < v.valid_to THEN p_successor END ELSE r.next_run_at END
      FROM inserted i JOIN clock_members v ON v.clock_id = p_clock AND v.job_id = i.job_id AND v.valid_from <= p_nominal AND p_nominal < v.valid_to
     WHERE r.job_id = i.job_id
  )
  SELECT 'run', i.id, i.attempt, i.tries, i.due_at, p_nominal, i.generation, i.job_name, NULL::json, false, NULL::bigint, i.max_attempts, 'schedule', v_now, NULL::json
    FROM inserted i WHERE i.status = 'running';
END $$;

-- Gives claims back whose call was not made: the worker is stopping, or the target's line is long. They count for nothing. Only with the claim's own `chunk`: numbers of claims
-- that were given back are taken again, perhaps by somebody else, before a repeat of this comes.
-- Answers which of them somebody has asked to cancel meanwhile: they are nobody's call now, and end at once.
CREATE FUNCTION put_back(p_team text, p_chunk text, p_partitions timestamptz[], p_ids text[], p_attempts integer[]) RETURNS TABLE (id text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  UPDATE job_executions e
     SET status = 'queued', attempt = e.attempt - 1, started_at = CASE WHEN e.attempt = 1 THEN NULL ELSE e.started_at END
    FROM unnest(p_partitions, p_ids, p_attempts) AS p (partition_at, id, attempt)
   WHERE e.partition_at = p.partition_at AND e.id = p.id AND e.team = p_team AND e.attempt = p.attempt AND e.chunk = p_chunk AND e.status = 'running'
     AND e.workflow_id <> e.id;
  -- also those that a former statement has given back whose answer was lost
  RETURN QUERY
    SELECT e.id FROM unnest(p_partitions, p_ids) AS p (partition_at, id) JOIN job_executions e ON e.partition_at = p.partition_at AND e.id = p.id
     WHERE e.team = p_team AND e.status = 'queued' AND e.cancel_requested_at IS NOT NULL;
END $$;

-- Plans as in 0005. They are kept, and the first is made while the tables are empty: rows are found by key all the same, and never by reading a table.
DO $$
DECLARE
  v_function regprocedure;
BEGIN
  FOR v_function IN
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace = current_schema()::regnamespace AND p.proname IN ('plan_pool_slot', 'plan_pool', 'next_due_of_pool', 'begin_pool', 'refuse_pool', 'begin_pool_slot', 'put_back')
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off', v_function);
  END LOOP;
END $$;
