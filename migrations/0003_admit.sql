-- admit: decides, under the job's lock, what becomes of a due slot, a trigger or a queued row (semantics.md 11–14, 16, 17).
-- Each function is one round trip: it first locks the runtime rows in job id order, then decides in a later statement, whose snapshot is newer than the lock.

-- A slot is late when it is admitted more than this after it was due (semantics.md 13).
CREATE FUNCTION late_after() RETURNS interval IMMUTABLE PARALLEL SAFE LANGUAGE sql RETURN interval '15 seconds';

-- The nominal time as Temporal writes it into workflow ids.
CREATE FUNCTION slot_text(p_slot timestamptz) RETURNS text IMMUTABLE PARALLEL SAFE LANGUAGE sql
  RETURN to_char(p_slot AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');

-- What overlap policy says of a newcomer: run | wait | skipped_overlap | buffer_dropped.
-- cancel_other and terminate_other have made room before this is asked; what is still active is being cancelled, so the newcomer waits for it.
CREATE FUNCTION overlap_verdict(p_overlap text, p_active integer, p_waiting integer, p_limit integer) RETURNS text IMMUTABLE PARALLEL SAFE LANGUAGE sql
  RETURN CASE
    WHEN p_overlap = 'allow_all' OR p_active + p_waiting <= 0 THEN 'run'
    WHEN p_overlap = 'skip' THEN 'skipped_overlap'
    WHEN p_overlap = 'buffer_one' THEN CASE WHEN p_waiting <= 0 THEN 'wait' ELSE 'skipped_overlap' END
    WHEN p_overlap = 'buffer_all' THEN CASE WHEN p_waiting < p_limit THEN 'wait' ELSE 'buffer_dropped' END
    ELSE 'wait'
  END;

-- True while the last claim of a row has no outcome: its call is in flight, or its worker has died. (Claims and tries differ for good after a crash: only the row of the attempt tells.)
CREATE FUNCTION is_call_open(e job_executions) RETURNS boolean STABLE LANGUAGE sql
  RETURN e.status = 'running' AND NOT EXISTS (
    SELECT 1 FROM job_attempts a WHERE a.partition_at = e.partition_at AND a.execution_id = e.id AND a.attempt = e.attempt);

-- Makes room for a newcomer of a job with cancel_other or terminate_other: whoever waits or is between two calls ends at once;
-- a call in flight is told to stop (cancel_other), or fenced off (terminate_other). The caller holds the job's lock.
CREATE FUNCTION make_room(p_team text, p_job text, p_overlap text, p_except text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_ended text := CASE WHEN p_overlap = 'terminate_other' THEN 'terminated' ELSE 'cancelled' END;
BEGIN
  WITH ended AS (
    UPDATE job_executions e
       SET status = v_ended, finished_at = clock_timestamp(), reason = p_overlap
     WHERE e.team = p_team AND e.job_id = p_job AND e.counted AND e.id <> p_except AND e.status IN ('queued', 'running')
       AND (p_overlap = 'terminate_other' OR NOT is_call_open(e))
    RETURNING e.partition_at, e.id, e.attempt, e.started_at, e.waiting
  ), fenced AS (
    -- what the worker of such a call records comes too late: its attempt is told here
    INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, error)
    SELECT ended.partition_at, ended.id, ended.attempt, p_team, v_ended, ended.started_at, clock_timestamp(),
           json_build_object('type', v_ended, 'message', 'it made room for a newer execution', 'attempt', ended.attempt)
      FROM ended WHERE ended.attempt > 0
    ON CONFLICT DO NOTHING
  )
  UPDATE job_runtime r
     SET active = r.active - (SELECT count(*) FROM ended WHERE NOT ended.waiting),
         waiting = r.waiting - (SELECT count(*) FROM ended WHERE ended.waiting)
   WHERE r.team = p_team AND r.job_id = p_job;
  -- after that, so that a call claimed meanwhile is not missed by both
  UPDATE job_executions e
     SET cancel_requested_at = clock_timestamp(), cancel_by = 'almanac: ' || p_overlap
   WHERE p_overlap = 'cancel_other' AND e.team = p_team AND e.job_id = p_job AND e.counted AND e.id <> p_except
     AND is_call_open(e) AND e.cancel_requested_at IS NULL;
END $$;

-- Admits one slot of a clock for all its members of that nominal time.
--   p_timing_hash  hash of the timing by which the caller worked out p_successor; another one at the nominal time answers `stale` with the right timing
--   p_successor    the slot after this one (null: none)
--   p_workflow_id  null: every execution runs in a workflow of its own id (dedicated clock)
--   p_run_id       null: nobody runs yet (the controller admits a late slot and starts the workflow afterwards)
-- decision: run (yours) | wait (queued behind another; end) | skipped | ended (already terminal) | duplicate (someone else's) | paused (a range row says so, or the controller will admit it in its turn) | stale
-- No row at all: nobody is a member at that time.
CREATE FUNCTION admit_slot(
  p_team text, p_clock text, p_nominal timestamptz, p_timing_hash text, p_successor timestamptz, p_workflow_id text, p_run_id text, p_buffer_limit integer
) RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timing_hash text, timing json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now   timestamptz;
  v_late  boolean;
  v_text  text := slot_text(p_nominal);
  v_job   record;
BEGIN
  RETURN QUERY
    SELECT 'stale', NULL::text, NULL::text, NULL::timestamptz, NULL::integer, NULL::bigint, NULL::text, NULL::json, t.hash, t.timing
      FROM clock_members m JOIN timings t ON t.hash = m.timing_hash
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
       AND m.timing_hash IS DISTINCT FROM p_timing_hash
     LIMIT 1;
  IF FOUND THEN RETURN; END IF;

  PERFORM 1 FROM job_runtime r
    WHERE r.team = p_team AND r.job_id IN (
      SELECT m.job_id FROM clock_members m
       WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to)
    ORDER BY r.job_id FOR UPDATE;
  v_now := clock_timestamp();
  v_late := v_now > p_nominal + late_after();

  FOR v_job IN
    SELECT r.job_id, r.overlap FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
       AND r.overlap IN ('cancel_other', 'terminate_other') AND r.active + r.waiting > 0 AND r.paused_at IS NULL AND r.enabled AND NOT v_late
       AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE e.partition_at = p_nominal AND e.id = r.job_id || '-' || v_text)
  LOOP
    PERFORM make_room(p_team, v_job.job_id, v_job.overlap, '');
  END LOOP;

  WITH verdicts AS (
    SELECT r.job_id, r.job_id || '-' || v_text AS id, r.job_name, r.generation, r.offset_s, r.max_attempts, r.priority, r.queue, r.dispatch, m.valid_to,
           CASE
             WHEN r.paused_at IS NOT NULL OR NOT r.enabled THEN 'paused'
             WHEN v_late AND (r.catch_up = 'none' OR p_nominal < v_now - make_interval(secs => r.catch_up_window_ms / 1000.0)
                              OR (r.catch_up = 'last' AND p_successor <= v_now AND p_successor < m.valid_to)) THEN 'missed'
             WHEN v_late AND r.catch_up = 'all' AND r.overlap <> 'allow_all' THEN overlap_verdict('buffer_all', r.active, r.waiting, p_buffer_limit)
             ELSE overlap_verdict(r.overlap, r.active, r.waiting, p_buffer_limit)
           END AS verdict
      FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
       AND NOT EXISTS (
         SELECT 1 FROM slot_ranges s
          WHERE s.job_id = r.job_id AND s.from_at <= p_nominal AND (s.to_at IS NULL OR p_nominal < s.to_at))
       -- Workflows of late slots come back in any order. Where all of them are to run in slot order, the controller admits them, in one pass.
       AND NOT (v_late AND p_run_id IS NOT NULL AND r.catch_up = 'all' AND r.overlap <> 'allow_all')
  ), inserted AS (
    INSERT INTO job_executions AS e (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, waiting, counted, reason,
                                     max_attempts, priority, queue, dispatch, workflow_id, run_id, created_at, finished_at)
    SELECT p_nominal, v.id, p_team, v.job_id, v.job_name, v.generation, 'schedule', p_nominal, p_nominal + make_interval(secs => v.offset_s),
           CASE WHEN v.verdict IN ('run', 'wait') THEN 'queued' ELSE 'skipped' END, v.verdict = 'wait', v.verdict IN ('run', 'wait'),
           CASE WHEN v.verdict NOT IN ('run', 'wait') THEN v.verdict END,
           v.max_attempts, v.priority, v.queue, v.dispatch, coalesce(p_workflow_id, v.id), CASE WHEN v.verdict = 'run' THEN p_run_id END,
           v_now, CASE WHEN v.verdict NOT IN ('run', 'wait') THEN v_now END
      FROM verdicts v
    ON CONFLICT DO NOTHING
    RETURNING e.job_id, e.waiting, e.counted
  )
  UPDATE job_runtime r
     SET active = r.active + (i.counted AND NOT i.waiting)::integer,
         waiting = r.waiting + (i.counted AND i.waiting)::integer,
         next_run_at = CASE WHEN r.next_run_at <= p_nominal THEN CASE WHEN p_successor < v.valid_to THEN p_successor END ELSE r.next_run_at END
    FROM inserted i JOIN verdicts v ON v.job_id = i.job_id
   WHERE r.job_id = i.job_id;

  UPDATE job_executions e
     SET run_id = p_run_id
    FROM clock_members m
   WHERE p_run_id IS NOT NULL
     AND m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
     AND e.partition_at = p_nominal AND e.id = m.job_id || '-' || v_text
     AND e.status IN ('queued', 'running') AND NOT e.waiting AND e.workflow_id = coalesce(p_workflow_id, e.id) AND e.run_id IS DISTINCT FROM p_run_id;

  RETURN QUERY
    SELECT CASE
             WHEN e.id IS NULL THEN 'paused'
             WHEN e.status = 'skipped' THEN 'skipped'
             WHEN e.status NOT IN ('queued', 'running') THEN 'ended'
             WHEN e.workflow_id <> coalesce(p_workflow_id, e.id) THEN 'duplicate'
             WHEN e.waiting THEN 'wait'
             ELSE 'run'
           END,
           m.job_id || '-' || v_text, e.reason, e.due_at, e.tries, e.generation, e.job_name, d.document, NULL::text, NULL::json
      FROM clock_members m
      LEFT JOIN job_executions e ON e.partition_at = p_nominal AND e.id = m.job_id || '-' || v_text
      LEFT JOIN job_revisions d ON d.job_id = e.job_id AND d.generation = e.generation AND e.status IN ('queued', 'running')
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to;
END $$;

-- Admits an execution that somebody asks for: a trigger, a backfill, a retry. The row is durable when this commits; the workflow is started afterwards.
-- verdict: run | wait | skipped_overlap | buffer_dropped, all with a row; not_found | disabled | paused without one.
CREATE FUNCTION admit_trigger(
  p_team text, p_job text, p_id text, p_partition_at timestamptz, p_trigger text, p_slot timestamptz, p_input json, p_has_input boolean,
  p_requested_by text, p_retry_of text, p_pinned_generation bigint, p_timeout_ms bigint, p_buffer_limit integer, p_request_id text
) RETURNS TABLE (verdict text, pause jsonb) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_runtime  job_runtime%ROWTYPE;
  v_now      timestamptz;
  v_verdict  text;
BEGIN
  SELECT * INTO v_runtime FROM job_runtime r WHERE r.team = p_team AND r.job_id = p_job FOR UPDATE;
  v_now := clock_timestamp();
  IF NOT FOUND THEN RETURN QUERY SELECT 'not_found', NULL::jsonb; RETURN; END IF;
  IF NOT v_runtime.enabled THEN RETURN QUERY SELECT 'disabled', NULL::jsonb; RETURN; END IF;
  IF v_runtime.paused_at IS NOT NULL AND v_runtime.block_manual THEN
    RETURN QUERY SELECT 'paused', j.pause FROM jobs j WHERE j.id = p_job; RETURN;
  END IF;

  IF v_runtime.overlap IN ('cancel_other', 'terminate_other') AND v_runtime.active + v_runtime.waiting > 0 THEN
    PERFORM make_room(p_team, p_job, v_runtime.overlap, '');
    SELECT * INTO v_runtime FROM job_runtime r WHERE r.job_id = p_job;
  END IF;
  v_verdict := overlap_verdict(v_runtime.overlap, v_runtime.active, v_runtime.waiting, p_buffer_limit);

  INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, pinned, trigger, slot, due_at, status, waiting, counted, reason,
                              max_attempts, priority, queue, dispatch, workflow_id, retry_of, requested_by, input, has_input, timeout_ms, created_at, finished_at)
  VALUES (p_partition_at, p_id, p_team, p_job, v_runtime.job_name, coalesce(p_pinned_generation, v_runtime.generation), p_pinned_generation IS NOT NULL,
          p_trigger, p_slot, v_now, CASE WHEN v_verdict IN ('run', 'wait') THEN 'queued' ELSE 'skipped' END, v_verdict = 'wait', v_verdict IN ('run', 'wait'),
          CASE WHEN v_verdict NOT IN ('run', 'wait') THEN v_verdict END,
          v_runtime.max_attempts, v_runtime.priority, v_runtime.queue, v_runtime.dispatch, p_id, p_retry_of, p_requested_by, p_input, p_has_input, p_timeout_ms,
          v_now, CASE WHEN v_verdict NOT IN ('run', 'wait') THEN v_now END);
  UPDATE job_runtime r
     SET active = r.active + (v_verdict = 'run')::integer, waiting = r.waiting + (v_verdict = 'wait')::integer
   WHERE r.job_id = p_job AND v_verdict IN ('run', 'wait');
  INSERT INTO audit_events (team, at, actor, action, subject_kind, subject_id, after, request_id)
  VALUES (p_team, v_now, p_requested_by, CASE p_trigger WHEN 'retry' THEN 'execution.retried' ELSE 'job.triggered' END, 'job', p_job,
          json_build_object('execution', p_id, 'verdict', v_verdict, 'retryOf', p_retry_of), p_request_id);
  RETURN QUERY SELECT v_verdict, NULL::jsonb;
END $$;

-- Admits a row that is already there when its workflow begins: trigger, retry, released or late slot, one-off. Decisions as in admit_slot.
-- A one-off counts from here on, so the overlap and catch-up policies are asked now (semantics.md 17).
CREATE FUNCTION admit_queued(p_team text, p_partition_at timestamptz, p_id text, p_workflow_id text, p_run_id text, p_buffer_limit integer)
RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timeout_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row      job_executions%ROWTYPE;
  v_runtime  job_runtime%ROWTYPE;
  v_now      timestamptz;
  v_verdict  text := 'run';
BEGIN
  SELECT r.* INTO v_runtime FROM job_runtime r WHERE r.team = p_team AND r.job_id = left(p_id, 40) FOR UPDATE;
  v_now := clock_timestamp();
  SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team FOR UPDATE;
  IF v_row.id IS NULL OR v_runtime.job_id IS NULL THEN RETURN; END IF;

  IF v_row.status = 'queued' AND NOT v_row.counted AND v_row.workflow_id = p_workflow_id AND v_row.due_at <= v_now + interval '1 second' THEN
    IF v_runtime.paused_at IS NOT NULL OR NOT v_runtime.enabled THEN
      v_verdict := 'paused';
    ELSIF v_now > v_row.slot + late_after()
       AND (v_runtime.catch_up = 'none' OR v_row.slot < v_now - make_interval(secs => v_runtime.catch_up_window_ms / 1000.0)) THEN
      v_verdict := 'missed';
    ELSE
      IF v_runtime.overlap IN ('cancel_other', 'terminate_other') AND v_runtime.active + v_runtime.waiting > 0 THEN
        PERFORM make_room(p_team, v_row.job_id, v_runtime.overlap, p_id);
        SELECT r.* INTO v_runtime FROM job_runtime r WHERE r.job_id = v_row.job_id;
      END IF;
      v_verdict := overlap_verdict(v_runtime.overlap, v_runtime.active, v_runtime.waiting, p_buffer_limit);
    END IF;
    IF v_verdict IN ('run', 'wait') THEN
      UPDATE job_executions e SET counted = true, waiting = (v_verdict = 'wait'), run_id = CASE WHEN v_verdict = 'run' THEN p_run_id END
       WHERE e.partition_at = p_partition_at AND e.id = p_id;
      UPDATE job_runtime r SET active = r.active + (v_verdict = 'run')::integer, waiting = r.waiting + (v_verdict = 'wait')::integer, next_run_at = NULL
       WHERE r.job_id = v_row.job_id;
    ELSE
      PERFORM settle(p_team, p_partition_at, p_id, 'skipped', v_verdict, NULL, NULL);
    END IF;
  ELSIF v_row.status IN ('queued', 'running') AND NOT v_row.waiting AND v_row.workflow_id = p_workflow_id AND v_row.run_id IS DISTINCT FROM p_run_id THEN
    UPDATE job_executions e SET run_id = p_run_id WHERE e.partition_at = p_partition_at AND e.id = p_id;
  END IF;

  RETURN QUERY
    SELECT CASE
             WHEN e.status = 'skipped' THEN 'skipped'
             WHEN e.status NOT IN ('queued', 'running') THEN 'ended'
             WHEN e.workflow_id <> p_workflow_id THEN 'duplicate'
             WHEN e.waiting THEN 'wait'
             WHEN NOT e.counted THEN 'early'
             ELSE 'run'
           END,
           e.id, e.reason, e.due_at, e.tries, e.generation, e.job_name, d.document, e.timeout_ms
      FROM job_executions e
      LEFT JOIN job_revisions d ON d.job_id = e.job_id AND d.generation = e.generation
     WHERE e.partition_at = p_partition_at AND e.id = p_id;
END $$;
