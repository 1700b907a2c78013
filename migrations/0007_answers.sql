-- What is written once is read once: admit_trigger answers with what makes up its row, so that nobody reads it back, and the outcome that ends an execution makes
-- one version of its row instead of two.

DROP FUNCTION admit_trigger(text, text, text, timestamptz, text, timestamptz, json, boolean, text, text, bigint, bigint, integer, text);
-- Admits an execution that somebody asks for: a trigger, a backfill, a retry. The row is durable when this commits; the workflow is started afterwards.
-- verdict: run | wait | skipped_overlap | buffer_dropped, all with a row, which is made of the arguments and the columns
-- behind the verdict; not_found | disabled | paused without one.
CREATE FUNCTION admit_trigger(
  p_team text, p_job text, p_id text, p_partition_at timestamptz, p_trigger text, p_slot timestamptz, p_input json, p_has_input boolean,
  p_requested_by text, p_retry_of text, p_pinned_generation bigint, p_timeout_ms bigint, p_buffer_limit integer, p_request_id text
) RETURNS TABLE (verdict text, pause jsonb, job_name text, generation bigint, due_at timestamptz, max_attempts integer, priority smallint, queue text, dispatch text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_runtime  job_runtime%ROWTYPE;
  v_now      timestamptz;
  v_verdict  text;
BEGIN
  SELECT * INTO v_runtime FROM job_runtime r WHERE r.team = p_team AND r.job_id = p_job FOR UPDATE;
  v_now := clock_timestamp();
  IF NOT FOUND THEN verdict := 'not_found'; RETURN NEXT; RETURN; END IF;
  job_name := v_runtime.job_name;
  IF NOT v_runtime.enabled THEN verdict := 'disabled'; RETURN NEXT; RETURN; END IF;
  IF v_runtime.paused_at IS NOT NULL AND v_runtime.block_manual THEN
    verdict := 'paused';
    SELECT j.pause INTO pause FROM jobs j WHERE j.id = p_job;
    RETURN NEXT; RETURN;
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
  RETURN QUERY SELECT v_verdict, NULL::jsonb, v_runtime.job_name, coalesce(p_pinned_generation, v_runtime.generation), v_now, v_runtime.max_attempts,
                      v_runtime.priority, v_runtime.queue, v_runtime.dispatch;
END $$;

DROP FUNCTION settle(text, timestamptz, text, text, text, json, json);
-- Ends an unfinished row: writes it, with the try that ended it (p_tries) if one did, keeps the job's counters and failure count, pauses the job if its rule says so, lets the next one start.
-- The caller holds the job's lock and has found the row unfinished. Returns the row to start next, or null.
CREATE FUNCTION settle(p_team text, p_partition_at timestamptz, p_id text, p_status text, p_reason text, p_result json, p_error json, p_tries integer DEFAULT 0)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  v_now      timestamptz := clock_timestamp();
  v_row      job_executions%ROWTYPE;
  v_runtime  job_runtime%ROWTYPE;
BEGIN
  SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team;
  UPDATE job_executions e
     SET status = p_status, reason = coalesce(p_reason, e.reason), waiting = false, counted = false, tries = e.tries + p_tries, finished_at = v_now,
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

-- Records outcomes of attempts, one or many: [{ team, partitionAt, id, attempt, status, final, startedAt, finishedAt, responseStatus, result, error, reason, worker }].
-- Applies only with the current claim (`attempt`), except that success is accepted from any claim on an unfinished row; terminal rows never change (semantics.md 3).
-- A failed attempt with retries left (`final` false) leaves the row running. Answers in the order of the rows' job ids.
CREATE OR REPLACE FUNCTION record_outcomes(p_outcomes json)
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
        v_released := settle(v_outcome.team, v_row.partition_at, v_row.id, v_final, v_outcome.reason, v_outcome.result, v_outcome.error, 1);
      END IF;
    END IF;
    RETURN QUERY
      SELECT v_outcome.id, coalesce(v_applied, false), e.status, e.reason, e.job_name, e.trigger, e.started_at, e.finished_at, e.due_at, v_released
        FROM job_executions e WHERE e.partition_at = v_outcome."partitionAt" AND e.id = v_outcome.id;
  END LOOP;
END $$;

-- Plans as in 0005, for the functions that are new since.
DO $$
DECLARE
  v_function regprocedure;
BEGIN
  FOR v_function IN
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace = current_schema()::regnamespace
       AND p.proname IN ('admit_trigger', 'record_outcomes', 'claim_at_once', 'begin_queued', 'begin_slot')
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', v_function);
  END LOOP;
END $$;
