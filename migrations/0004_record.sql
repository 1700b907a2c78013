-- claim, record, cancel, close: the only statements that move an execution towards its end (semantics.md 3, 4, 12, 14, 15).

-- RFC 3339 in UTC with milliseconds, as the API writes times.
CREATE FUNCTION iso_time(p_at timestamptz) RETURNS text IMMUTABLE PARALLEL SAFE LANGUAGE sql
  RETURN to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- Pauses a job by itself after too many failures. The caller holds the job's lock.
CREATE FUNCTION pause_after_failures(p_team text, p_job text, p_failures integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_now     timestamptz := clock_timestamp();
  v_reason  text := format('%s executions in a row failed', p_failures);
  v_pause   jsonb := jsonb_build_object('reason', v_reason, 'by', 'almanac', 'at', iso_time(v_now),
                                        'blockManual', false, 'automatic', true);
BEGIN
  UPDATE job_runtime r SET paused_at = v_now, block_manual = false, next_run_at = NULL WHERE r.job_id = p_job;
  UPDATE jobs j SET state = CASE WHEN j.state IN ('active', 'on_demand') THEN 'paused' ELSE j.state END, pause = v_pause, updated_at = v_now
   WHERE j.id = p_job AND j.team = p_team;
  INSERT INTO slot_ranges (team, job_id, reason, from_at, by, note) VALUES (p_team, p_job, 'paused', v_now, 'almanac', v_reason);
  UPDATE clocks c SET paused = true, generation = c.generation + 1, reconcile_at = v_now WHERE c.id = p_job AND c.kind = 'dedicated' AND c.deleted_at IS NULL AND NOT c.paused;
  INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after) VALUES (p_team, 'almanac', 'job.paused', 'job', p_job, v_pause::json);
END $$;

-- Lets the next waiting row of a job start when nothing of it is active, in slot order, else in the order of acceptance. The caller holds the job's lock.
-- Returns what a start needs, or null.
CREATE FUNCTION release_next(p_team text, p_job text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  v_next  record;
BEGIN
  PERFORM 1 FROM job_runtime r WHERE r.job_id = p_job AND r.team = p_team AND r.active <= 0 AND r.waiting > 0;
  IF NOT FOUND THEN RETURN NULL; END IF;
  SELECT e.partition_at, e.id INTO v_next FROM job_executions e
   WHERE e.job_id = p_job AND e.team = p_team AND e.waiting AND e.status IN ('queued', 'running')
   ORDER BY coalesce(e.slot, e.created_at), e.created_at, e.id LIMIT 1;
  IF NOT FOUND THEN
    UPDATE job_runtime r SET waiting = 0 WHERE r.job_id = p_job;
    RETURN NULL;
  END IF;
  UPDATE job_runtime r SET active = r.active + 1, waiting = r.waiting - 1 WHERE r.job_id = p_job;
  UPDATE job_executions e SET waiting = false, run_id = NULL WHERE e.partition_at = v_next.partition_at AND e.id = v_next.id;
  RETURN (SELECT start_of(e) FROM job_executions e WHERE e.partition_at = v_next.partition_at AND e.id = v_next.id);
END $$;

-- What a workflow start needs to know of a row.
CREATE FUNCTION start_of(e job_executions) RETURNS json STABLE LANGUAGE sql
  RETURN json_build_object('team', e.team, 'id', e.id, 'partitionAt', e.partition_at, 'workflowId', e.workflow_id, 'queue', e.queue,
                           'dueAt', e.due_at, 'priority', e.priority, 'jobName', e.job_name);

-- Ends an unfinished row: writes it, keeps the job's counters and failure count, pauses the job if its rule says so, lets the next one start.
-- The caller holds the job's lock and has found the row unfinished. Returns the row to start next, or null.
CREATE FUNCTION settle(p_team text, p_partition_at timestamptz, p_id text, p_status text, p_reason text, p_result json, p_error json)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  v_now      timestamptz := clock_timestamp();
  v_row      job_executions%ROWTYPE;
  v_runtime  job_runtime%ROWTYPE;
BEGIN
  SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team;
  UPDATE job_executions e
     SET status = p_status, reason = coalesce(p_reason, e.reason), waiting = false, counted = false, finished_at = v_now,
         result = coalesce(p_result, e.result), error = CASE WHEN p_status = 'succeeded' THEN NULL ELSE coalesce(p_error, e.error) END
   WHERE e.partition_at = p_partition_at AND e.id = p_id;
  UPDATE job_runtime r
     SET active = r.active - (v_row.counted AND NOT v_row.waiting)::integer,
         waiting = r.waiting - (v_row.counted AND v_row.waiting)::integer,
         consecutive_failures = CASE p_status WHEN 'succeeded' THEN 0 WHEN 'failed' THEN r.consecutive_failures + 1 WHEN 'timed_out' THEN r.consecutive_failures + 1
                                              ELSE r.consecutive_failures END,
         last_outcome = CASE WHEN p_status = 'skipped' THEN r.last_outcome ELSE p_status END,
         last_execution = CASE WHEN p_status = 'skipped' THEN r.last_execution ELSE json_build_object(
           'id', p_id, 'status', p_status, 'slot', iso_time(v_row.slot), 'startedAt', iso_time(v_row.started_at), 'finishedAt', iso_time(v_now),
           'durationMs', round(extract(epoch FROM v_now - v_row.started_at) * 1000)) END,
         next_run_at = CASE WHEN v_row.trigger = 'once' THEN NULL ELSE r.next_run_at END
   WHERE r.job_id = v_row.job_id AND r.team = p_team
  RETURNING r.* INTO v_runtime;
  IF v_row.trigger = 'once' THEN
    UPDATE jobs j SET state = 'finished', updated_at = v_now WHERE j.id = v_row.job_id AND j.state IN ('active', 'paused');
  ELSIF v_runtime.paused_at IS NULL AND v_runtime.enabled AND v_runtime.consecutive_failures >= v_runtime.pause_after_failures AND p_status IN ('failed', 'timed_out') THEN
    PERFORM pause_after_failures(p_team, v_row.job_id, v_runtime.consecutive_failures);
  END IF;
  IF v_runtime.waiting > 0 AND v_runtime.active <= 0 THEN RETURN release_next(p_team, v_row.job_id); END IF;
  RETURN NULL;
END $$;

-- Takes the right to make one call, immediately before it. `p_try` counts the tries that use up max_attempts (a repeat after a crash is the same try).
-- verdict: run | recorded (this try has an outcome already: status and error say which) | cancelled | paused | ended | fenced (another run owns the row)
CREATE FUNCTION claim_execution(p_team text, p_partition_at timestamptz, p_id text, p_run_id text, p_try integer)
RETURNS TABLE (verdict text, attempt integer, status text, error json, generation bigint, document json, input json, has_input boolean,
               timeout_ms bigint, slot timestamptz, due_at timestamptz, started_at timestamptz, job_id text, job_name text, max_attempts integer,
               trigger text, queue text, service json, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row       job_executions%ROWTYPE;
  v_released  json;
  v_verdict   text;
BEGIN
  UPDATE job_executions e
     SET status = 'running', attempt = e.attempt + 1, started_at = coalesce(e.started_at, clock_timestamp()),
         generation = CASE WHEN e.pinned OR e.status = 'running' THEN e.generation ELSE r.generation END
    FROM job_runtime r
   WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team AND r.job_id = e.job_id
     AND e.status IN ('queued', 'running') AND NOT e.waiting AND e.run_id = p_run_id AND e.cancel_requested_at IS NULL AND e.tries < p_try
     AND (e.status = 'running' OR NOT (
           (r.paused_at IS NOT NULL AND (e.trigger IN ('schedule', 'once') OR r.block_manual)) OR (NOT r.enabled AND e.trigger IN ('schedule', 'once'))))
  RETURNING e.* INTO v_row;
  IF FOUND THEN
    IF v_row.attempt > 1 THEN
      -- the attempt before has no outcome only if its worker died
      INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, error)
      VALUES (p_partition_at, p_id, v_row.attempt - 1, p_team, 'lost', v_row.started_at, clock_timestamp(),
              json_build_object('type', 'lost', 'message', 'the worker ended before it could record an outcome', 'attempt', v_row.attempt - 1))
      ON CONFLICT DO NOTHING;
    END IF;
    RETURN QUERY
      SELECT 'run', v_row.attempt, v_row.status, NULL::json, v_row.generation, d.document, v_row.input, v_row.has_input, v_row.timeout_ms, v_row.slot, v_row.due_at,
             v_row.started_at, v_row.job_id, v_row.job_name, v_row.max_attempts, v_row.trigger, v_row.queue,
             CASE WHEN s.id IS NULL THEN NULL ELSE json_build_object('baseUrl', s.base_url, 'headers', s.headers) END, NULL::json
        FROM job_revisions d
        LEFT JOIN services s ON s.team = p_team AND s.name = d.document #>> '{target,service}'
       WHERE d.job_id = v_row.job_id AND d.generation = v_row.generation;
    RETURN;
  END IF;

  -- Refused: say why, and end the row where the reason is final.
  PERFORM 1 FROM job_runtime r WHERE r.job_id = left(p_id, 40) AND r.team = p_team FOR UPDATE;
  SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team;
  v_verdict := CASE
    WHEN v_row.id IS NULL OR v_row.status NOT IN ('queued', 'running') THEN 'ended'
    WHEN v_row.run_id IS DISTINCT FROM p_run_id OR v_row.waiting THEN 'fenced'
    WHEN v_row.cancel_requested_at IS NOT NULL THEN 'cancelled'
    WHEN v_row.tries >= p_try THEN 'recorded'
    ELSE 'paused'
  END;
  IF v_verdict = 'cancelled' THEN
    IF is_call_open(v_row) THEN
      -- cancelled while its call was in flight, and the worker died before it could say so
      INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, error)
      VALUES (p_partition_at, p_id, v_row.attempt, p_team, 'lost', v_row.started_at, clock_timestamp(),
              json_build_object('type', 'lost', 'message', 'the worker ended before it could record an outcome', 'attempt', v_row.attempt))
      ON CONFLICT DO NOTHING;
    END IF;
    v_released := settle(p_team, p_partition_at, p_id, 'cancelled', NULL, NULL, NULL);
  ELSIF v_verdict = 'paused' THEN
    v_released := settle(p_team, p_partition_at, p_id, 'skipped', 'paused', NULL, NULL);
  END IF;
  RETURN QUERY SELECT v_verdict, v_row.attempt, v_row.status, v_row.error, v_row.generation, NULL::json, NULL::json, false, NULL::bigint, v_row.slot, v_row.due_at,
                      v_row.started_at, v_row.job_id, v_row.job_name, v_row.max_attempts, v_row.trigger, v_row.queue, NULL::json, v_released;
END $$;

-- Records outcomes of attempts, one or many: [{ team, partitionAt, id, attempt, status, final, startedAt, finishedAt, responseStatus, result, error, reason, worker }].
-- Applies only with the current claim (`attempt`), except that success is accepted from any claim on an unfinished row; terminal rows never change (semantics.md 3).
-- A failed attempt with retries left (`final` false) leaves the row running. Answers in the order of the rows' job ids.
CREATE FUNCTION record_outcomes(p_outcomes json)
RETURNS TABLE (id text, applied boolean, status text, reason text, job_name text, trigger text, started_at timestamptz, finished_at timestamptz, due_at timestamptz, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_outcome   record;
  v_row       job_executions%ROWTYPE;
  v_released  json;
  v_applied   boolean;
  v_final     text;
BEGIN
  PERFORM 1 FROM job_runtime r
    WHERE r.job_id IN (SELECT left(o.id, 40) FROM json_to_recordset(p_outcomes) AS o(id text))
    ORDER BY r.job_id FOR UPDATE;
  FOR v_outcome IN
    SELECT * FROM json_to_recordset(p_outcomes) AS o(
      team text, "partitionAt" timestamptz, id text, attempt integer, status text, final boolean, "startedAt" timestamptz, "finishedAt" timestamptz,
      "responseStatus" integer, result json, error json, reason text, worker text)
    ORDER BY o.id
  LOOP
    v_released := NULL;
    SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = v_outcome."partitionAt" AND e.id = v_outcome.id AND e.team = v_outcome.team;
    v_applied := v_row.status IN ('queued', 'running') AND (v_row.attempt = v_outcome.attempt OR v_outcome.status = 'succeeded')
                 AND (v_row.tries < v_row.attempt OR v_outcome.final);
    IF v_applied THEN
      INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, response_status, error, worker)
      VALUES (v_outcome."partitionAt", v_outcome.id, v_outcome.attempt, v_outcome.team, v_outcome.status, v_outcome."startedAt", v_outcome."finishedAt",
              v_outcome."responseStatus", v_outcome.error, v_outcome.worker)
      ON CONFLICT DO NOTHING;
      v_final := CASE WHEN v_outcome.final OR v_outcome.status = 'succeeded' THEN v_outcome.status
                      WHEN v_row.cancel_requested_at IS NOT NULL THEN 'cancelled' END;
      IF v_final IS NULL THEN
        UPDATE job_executions e SET tries = e.tries + 1, error = v_outcome.error, result = v_outcome.result
         WHERE e.partition_at = v_row.partition_at AND e.id = v_row.id;
      ELSE
        UPDATE job_executions e SET tries = e.tries + 1 WHERE e.partition_at = v_row.partition_at AND e.id = v_row.id;
        v_released := settle(v_outcome.team, v_row.partition_at, v_row.id, v_final, v_outcome.reason, v_outcome.result, v_outcome.error);
      END IF;
    END IF;
    RETURN QUERY
      SELECT v_outcome.id, coalesce(v_applied, false), e.status, e.reason, e.job_name, e.trigger, e.started_at, e.finished_at, e.due_at, v_released
        FROM job_executions e WHERE e.partition_at = v_outcome."partitionAt" AND e.id = v_outcome.id;
  END LOOP;
END $$;

-- Asks an execution to stop. Between two calls, or before the first, it ends at once; a call in flight is told by its worker within a second.
-- verdict: not_found | finished | requested | cancelled
CREATE FUNCTION cancel_execution(p_team text, p_partition_at timestamptz, p_id text, p_by text)
RETURNS TABLE (verdict text, workflow_id text, run_id text, released json) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row       job_executions%ROWTYPE;
  v_released  json;
  v_verdict   text;
BEGIN
  PERFORM 1 FROM job_runtime r WHERE r.job_id = left(p_id, 40) AND r.team = p_team FOR UPDATE;
  SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team FOR UPDATE;
  IF v_row.id IS NULL THEN v_verdict := 'not_found';
  ELSIF v_row.status NOT IN ('queued', 'running') THEN v_verdict := 'finished';
  ELSE
    UPDATE job_executions e SET cancel_requested_at = coalesce(e.cancel_requested_at, clock_timestamp()), cancel_by = coalesce(e.cancel_by, p_by)
     WHERE e.partition_at = p_partition_at AND e.id = p_id;
    IF is_call_open(v_row) THEN
      v_verdict := 'requested';
    ELSE
      v_verdict := 'cancelled';
      v_released := settle(p_team, p_partition_at, p_id, 'cancelled', NULL, NULL, NULL);
    END IF;
  END IF;
  RETURN QUERY SELECT v_verdict, v_row.workflow_id, v_row.run_id, v_released;
END $$;

-- Makes an unfinished row terminal at once and fences whatever comes later: terminate, a lost workflow, a deleted job.
CREATE FUNCTION close_execution(p_team text, p_partition_at timestamptz, p_id text, p_status text, p_reason text, p_error json, p_by text)
RETURNS TABLE (applied boolean, status text, workflow_id text, run_id text, released json) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row       job_executions%ROWTYPE;
  v_released  json;
  v_open      boolean;
BEGIN
  PERFORM 1 FROM job_runtime r WHERE r.job_id = left(p_id, 40) AND r.team = p_team FOR UPDATE;
  SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team FOR UPDATE;
  IF v_row.id IS NULL THEN RETURN; END IF;
  v_open := v_row.status IN ('queued', 'running');
  IF v_open THEN
    IF v_row.attempt > v_row.tries THEN
      INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, error)
      VALUES (p_partition_at, p_id, v_row.attempt, p_team, CASE p_status WHEN 'failed' THEN 'lost' ELSE p_status END, v_row.started_at, clock_timestamp(), p_error)
      ON CONFLICT DO NOTHING;
    END IF;
    UPDATE job_executions e SET cancel_by = coalesce(e.cancel_by, p_by) WHERE e.partition_at = p_partition_at AND e.id = p_id;
    v_released := settle(p_team, p_partition_at, p_id, p_status, p_reason, NULL, p_error);
  END IF;
  RETURN QUERY SELECT v_open, CASE WHEN v_open THEN p_status ELSE v_row.status END, v_row.workflow_id, v_row.run_id, v_released;
END $$;
