-- An index of unfinished rows looks tiny to the planner whenever all is quiet, so that it would rather read all of it than look up one row by key, and goes on doing so when a
-- backlog comes. It is named by another condition than the one by which statements guard rows they look up: who wants all unfinished rows of a job says finished_at IS NULL.
DROP INDEX job_executions_unfinished;
CREATE INDEX job_executions_open ON job_executions (job_id, waiting) WHERE finished_at IS NULL;

-- As in 0003.
CREATE OR REPLACE FUNCTION make_room(p_team text, p_job text, p_overlap text, p_except text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_ended text := CASE WHEN p_overlap = 'terminate_other' THEN 'terminated' ELSE 'cancelled' END;
BEGIN
  WITH ended AS (
    UPDATE job_executions e
       SET status = v_ended, finished_at = clock_timestamp(), reason = p_overlap
     WHERE e.team = p_team AND e.job_id = p_job AND e.counted AND e.id <> p_except AND e.finished_at IS NULL AND e.status IN ('queued', 'running')
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
   WHERE p_overlap = 'cancel_other' AND e.team = p_team AND e.job_id = p_job AND e.counted AND e.id <> p_except AND e.finished_at IS NULL
     AND is_call_open(e) AND e.cancel_requested_at IS NULL;
END $$;

-- As in 0004.
CREATE OR REPLACE FUNCTION release_next(p_team text, p_job text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  v_next  record;
BEGIN
  PERFORM 1 FROM job_runtime r WHERE r.job_id = p_job AND r.team = p_team AND r.active <= 0 AND r.waiting > 0;
  IF NOT FOUND THEN RETURN NULL; END IF;
  SELECT e.partition_at, e.id INTO v_next FROM job_executions e
   WHERE e.job_id = p_job AND e.team = p_team AND e.waiting AND e.finished_at IS NULL AND e.status IN ('queued', 'running')
   ORDER BY coalesce(e.slot, e.created_at), e.created_at, e.id LIMIT 1;
  IF NOT FOUND THEN
    UPDATE job_runtime r SET waiting = 0 WHERE r.job_id = p_job;
    RETURN NULL;
  END IF;
  UPDATE job_runtime r SET active = r.active + 1, waiting = r.waiting - 1 WHERE r.job_id = p_job;
  UPDATE job_executions e SET waiting = false, run_id = NULL WHERE e.partition_at = v_next.partition_at AND e.id = v_next.id;
  RETURN (SELECT start_of(e) FROM job_executions e WHERE e.partition_at = v_next.partition_at AND e.id = v_next.id);
END $$;
