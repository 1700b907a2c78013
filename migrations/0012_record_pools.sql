-- Recording what came of pooled calls: the same rules as record_outcomes in 0007, for many rows in one statement (semantics.md 3, 4, 20).

-- The outcomes of record_pool as rows, numbered in their order. Said to be one, so that the planner looks up the row of each by its key, also while the tables are small.
CREATE FUNCTION outcomes_of(p_outcomes json)
RETURNS TABLE (team text, partition_at timestamptz, id text, attempt integer, status text, final boolean, call_started timestamptz, call_finished timestamptz,
               response_status integer, result json, error json, reason text, worker text, retry_in_ms double precision, n bigint)
VOLATILE ROWS 1 LANGUAGE sql AS $$
  SELECT o.team, o."partitionAt", o.id, o.attempt, o.status, o.final, o."startedAt", o."finishedAt", o."responseStatus", o.result, o.error, o.reason, o.worker, o."retryInMs",
         row_number() OVER ()
    FROM json_to_recordset(p_outcomes) AS o(
      team text, "partitionAt" timestamptz, id text, attempt integer, status text, final boolean, "startedAt" timestamptz, "finishedAt" timestamptz,
      "responseStatus" integer, result json, error json, reason text, worker text, "retryInMs" double precision)
$$;

-- Records outcomes of pooled calls as record_outcomes does, in sets: [{ team, partitionAt, id, attempt, status, final, startedAt, finishedAt, responseStatus, result, error, reason,
-- worker, retryInMs }] in the order in which they came about. One that fails with retries left is promoted: it leaves the pool, and `released` starts a workflow of its own.
-- Rows without an id carry nothing but what was released.
CREATE FUNCTION record_pool(p_outcomes json)
RETURNS TABLE (id text, applied boolean, status text, reason text, job_name text, trigger text, started_at timestamptz, finished_at timestamptz, due_at timestamptz, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now    timestamptz;
  v_ended  integer;
  v_one    record;
BEGIN
  PERFORM 1 FROM job_runtime r
    WHERE r.job_id IN (SELECT left(o.id, 40) FROM outcomes_of(p_outcomes) o)
    ORDER BY r.job_id FOR UPDATE;
  v_now := clock_timestamp();

  RETURN QUERY
  WITH o AS MATERIALIZED (
    SELECT * FROM outcomes_of(p_outcomes)
  ), ended AS (
    UPDATE job_executions e
       SET status = o.status, reason = coalesce(o.reason, e.reason), counted = false, tries = e.tries + 1, finished_at = v_now,
           -- a claimed call may have waited a moment for its place
           started_at = CASE WHEN e.attempt = 1 THEN greatest(e.started_at, least(o.call_started, v_now)) ELSE e.started_at END,
           result = coalesce(o.result, e.result), error = CASE WHEN o.status = 'succeeded' THEN NULL ELSE coalesce(o.error, e.error) END
      FROM o
     WHERE e.partition_at = o.partition_at AND e.id = o.id AND e.team = o.team AND e.status IN ('queued', 'running') AND e.counted AND NOT e.waiting
       AND ((e.attempt = o.attempt AND e.status = 'running') OR o.status = 'succeeded') AND (o.final OR o.status = 'succeeded')
    RETURNING e.partition_at, e.id, e.team, e.job_id, e.job_name, e.status, e.reason, e.trigger, e.slot, e.started_at, e.due_at, o.n, o.attempt, o.call_started,
              o.call_finished, o.response_status, o.error, o.worker
  ), attempts AS (
    INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, response_status, error, worker)
    SELECT e.partition_at, e.id, e.attempt, e.team, e.status, e.call_started, e.call_finished, e.response_status, e.error, e.worker FROM ended e
    ON CONFLICT DO NOTHING
  ), per_job AS (
    -- the last outcome of each job, and how many failures in a row it ends with
    SELECT DISTINCT ON (f.job_id) f.*, count(*) FILTER (WHERE f.n > f.last_success AND f.status IN ('failed', 'timed_out')) OVER (PARTITION BY f.job_id) AS failures
      FROM (SELECT e.*, count(*) OVER (PARTITION BY e.job_id)::integer AS ended, bool_or(e.trigger = 'once') OVER (PARTITION BY e.job_id) AS once,
                   coalesce(max(e.n) FILTER (WHERE e.status = 'succeeded') OVER (PARTITION BY e.job_id), 0) AS last_success
              FROM ended e) f
     ORDER BY f.job_id, f.n DESC
  ), runtime AS (
    UPDATE job_runtime r
       SET active = r.active - j.ended,
           consecutive_failures = CASE WHEN j.last_success = 0 THEN r.consecutive_failures ELSE 0 END + j.failures,
           last_outcome = j.status,
           last_execution = json_build_object('id', j.id, 'status', j.status, 'slot', iso_time(j.slot), 'startedAt', iso_time(j.started_at), 'finishedAt', iso_time(v_now),
                                              'durationMs', round(extract(epoch FROM v_now - j.started_at) * 1000)),
           next_run_at = CASE WHEN j.once THEN NULL ELSE r.next_run_at END
      FROM per_job j
     WHERE r.job_id = j.job_id
  ), finished AS (
    UPDATE jobs j SET state = 'finished', updated_at = v_now FROM ended e WHERE e.trigger = 'once' AND j.id = e.job_id AND j.state IN ('active', 'paused')
  )
  SELECT e.id, true, e.status, e.reason, e.job_name, e.trigger, e.started_at, v_now, e.due_at, NULL::json FROM ended e;

  GET DIAGNOSTICS v_ended = ROW_COUNT;

  -- A job that should be paused now, or that has somebody waiting.
  FOR v_one IN
    SELECT r.team, r.job_id, r.consecutive_failures, r.waiting > 0 AND r.active <= 0 AS release,
           r.paused_at IS NULL AND r.enabled AND r.consecutive_failures >= r.pause_after_failures AS pause
      FROM job_runtime r
     WHERE r.job_id IN (SELECT left(o.id, 40) FROM outcomes_of(p_outcomes) o)
       AND ((r.waiting > 0 AND r.active <= 0) OR (r.pause_after_failures IS NOT NULL AND r.consecutive_failures >= r.pause_after_failures AND r.paused_at IS NULL AND r.enabled))
  LOOP
    IF v_one.pause AND EXISTS (
      SELECT 1 FROM json_to_recordset(p_outcomes) AS o("partitionAt" timestamptz, id text, status text) JOIN job_executions e ON e.partition_at = o."partitionAt" AND e.id = o.id
       WHERE left(o.id, 40) = v_one.job_id AND o.status IN ('failed', 'timed_out')
         -- only what ended just now counts; a one-off is over, there is nothing to pause
         AND e.status = o.status AND e.finished_at = v_now AND e.trigger <> 'once'
    ) THEN
      PERFORM pause_after_failures(v_one.team, v_one.job_id, v_one.consecutive_failures);
    END IF;
    IF v_one.release THEN
      RETURN QUERY SELECT NULL::text, NULL::boolean, NULL::text, NULL::text, NULL::text, NULL::text, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz,
                          release_next(v_one.team, v_one.job_id);
    END IF;
  END LOOP;

  IF v_ended = json_array_length(p_outcomes) THEN RETURN; END IF;
  -- What did not end its row: a try with others to follow, or an outcome that comes too late.
  FOR v_one IN
    SELECT o.* FROM json_to_recordset(p_outcomes) AS o(
        team text, "partitionAt" timestamptz, id text, attempt integer, status text, final boolean, "startedAt" timestamptz, "finishedAt" timestamptz,
        "responseStatus" integer, result json, error json, reason text, worker text, "retryInMs" double precision)
     CROSS JOIN LATERAL (
       SELECT e.status, e.finished_at FROM job_executions e WHERE e.partition_at = o."partitionAt" AND e.id = o.id AND e.team = o.team LIMIT 1) e
     WHERE e.finished_at IS DISTINCT FROM v_now
     ORDER BY o.id
  LOOP
    RETURN QUERY SELECT * FROM record_promoting(v_one.team, v_one."partitionAt", v_one.id, v_one.attempt, row_to_json(v_one), v_one."retryInMs");
  END LOOP;
END $$;

-- One outcome as record_outcomes takes it; if the row stays open for a next try, it leaves its pool.
-- A claim of which a later one was put back has its number again, but was lost when the later one was taken: what fails under it comes too late (semantics.md 3). The row is queued
-- in its pool, and whoever serves that makes the call again; were it promoted instead, the same attempt would be told both as lost and as failed.
CREATE FUNCTION record_promoting(p_team text, p_partition_at timestamptz, p_id text, p_attempt integer, p_outcome json, p_retry_in_ms double precision)
RETURNS TABLE (id text, applied boolean, status text, reason text, job_name text, trigger text, started_at timestamptz, finished_at timestamptz, due_at timestamptz, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_recorded  record;
  v_row       job_executions%ROWTYPE;
BEGIN
  IF p_outcome ->> 'status' <> 'succeeded' THEN
    RETURN QUERY
      SELECT e.id, false, e.status, e.reason, e.job_name, e.trigger, e.started_at, e.finished_at, e.due_at, NULL::json FROM job_executions e
       WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team AND e.status = 'queued';
    IF FOUND THEN RETURN; END IF;
  END IF;
  SELECT * INTO v_recorded FROM record_outcomes(json_build_array(p_outcome)) r;
  IF v_recorded.applied AND v_recorded.status = 'running' THEN
    UPDATE job_executions e
       SET dispatch = 'dedicated', workflow_id = e.id, run_id = NULL, chunk = NULL, retry_at = clock_timestamp() + make_interval(secs => coalesce(p_retry_in_ms, 0) / 1000.0)
     WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team AND e.attempt = p_attempt AND e.dispatch = 'pooled'
    RETURNING e.* INTO v_row;
    v_recorded.released := CASE WHEN v_row.id IS NULL THEN NULL ELSE start_of(v_row) END;
  END IF;
  RETURN QUERY SELECT v_recorded.id, v_recorded.applied, v_recorded.status, v_recorded.reason, v_recorded.job_name, v_recorded.trigger, v_recorded.started_at,
                      v_recorded.finished_at, v_recorded.due_at, v_recorded.released;
END $$;

-- Ends every unfinished row of a pool whose workflow was cancelled: it has one open run at a time, but rows may have been told an earlier one.
CREATE FUNCTION close_pool(p_team text, p_pool text, p_status text, p_reason text, p_error json) RETURNS TABLE (released json) LANGUAGE sql AS $$
  WITH unfinished AS MATERIALIZED (
    SELECT e.partition_at, e.id FROM job_executions e
     WHERE e.workflow_id = p_pool AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.team = p_team
     ORDER BY e.id
  )
  SELECT c.released FROM unfinished u, LATERAL close_execution(p_team, u.partition_at, u.id, p_status, p_reason, p_error, 'almanac') c
$$;

-- Plans as in 0009.
DO $$
DECLARE
  v_function regprocedure;
BEGIN
  FOR v_function IN
    SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.proname IN ('record_pool', 'record_promoting', 'close_pool')
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off', v_function);
  END LOOP;
END $$;
-- Outcomes of a hundred jobs do not wait for the lock of one: its own are tried by themselves then (outcome-writer.ts).
ALTER FUNCTION record_pool SET lock_timeout = '1s';
