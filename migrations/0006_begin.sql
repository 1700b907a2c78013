-- An execution begins in one round trip: admit and, where its short call is due, the claim with it. A trigger is answered in one as well, and the last outcome
-- of an execution is one version of its row instead of two.

-- Longest time of one attempt as the current generation says; null: written before this was kept, so that the claim comes in a statement of its own.
ALTER TABLE job_runtime ADD COLUMN timeout_ms bigint;

-- Takes the right to make the first call (or the first again, after a crash) of an admitted row that is due and whose attempts last at most p_short_ms, for the run that begins to serve it.
-- The conditions are those of admit_queued for "yours" and of claim_execution for "run", in one guarded UPDATE. An empty row: ask these two.
CREATE FUNCTION claim_at_once(p_team text, p_partition_at timestamptz, p_id text, p_workflow_id text, p_run_id text, p_short_ms bigint) RETURNS job_executions
LANGUAGE plpgsql AS $$
DECLARE
  v_row  job_executions%ROWTYPE;
BEGIN
  UPDATE job_executions e
     SET run_id = p_run_id, status = 'running', attempt = e.attempt + 1, started_at = coalesce(e.started_at, clock_timestamp()),
         generation = CASE WHEN e.pinned OR e.status = 'running' THEN e.generation ELSE r.generation END
    FROM job_runtime r
   WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team AND r.job_id = e.job_id AND e.workflow_id = p_workflow_id
     AND e.status IN ('queued', 'running') AND e.counted AND NOT e.waiting AND e.cancel_requested_at IS NULL AND e.due_at <= clock_timestamp()
     AND e.tries = 0 -- a later try waits for its backoff first
     AND coalesce(e.timeout_ms, CASE WHEN NOT e.pinned AND (e.status = 'queued' OR e.generation = r.generation) THEN r.timeout_ms END) <= p_short_ms
     AND (e.status = 'running' OR NOT (
           (r.paused_at IS NOT NULL AND (e.trigger IN ('schedule', 'once') OR r.block_manual)) OR (NOT r.enabled AND e.trigger IN ('schedule', 'once'))))
  RETURNING e.* INTO v_row;
  IF v_row.attempt > 1 THEN
    -- the attempt before has no outcome only if its worker died
    INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, error)
    VALUES (p_partition_at, p_id, v_row.attempt - 1, p_team, 'lost', v_row.started_at, clock_timestamp(),
            json_build_object('type', 'lost', 'message', 'the worker ended before it could record an outcome', 'attempt', v_row.attempt - 1))
    ON CONFLICT DO NOTHING;
  END IF;
  RETURN v_row;
END $$;

-- What the worker needs to know of a row that it has claimed.
CREATE FUNCTION begun(e job_executions)
RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timeout_ms bigint,
               attempt integer, input json, has_input boolean, slot timestamptz, job_id text, max_attempts integer, service json)
STABLE LANGUAGE sql AS $$
  SELECT 'run', e.id, e.reason, e.due_at, e.tries, e.generation, e.job_name, d.document, e.timeout_ms, e.attempt, e.input, e.has_input, e.slot,
         e.job_id, e.max_attempts,
         CASE WHEN s.id IS NULL THEN NULL ELSE json_build_object('baseUrl', s.base_url, 'headers', s.headers) END
    FROM job_revisions d LEFT JOIN services s ON s.team = e.team AND s.name = d.document #>> '{target,service}'
   WHERE d.job_id = e.job_id AND d.generation = e.generation
$$;

-- admit_queued, and the claim where it can be had at once. `attempt` is null where there is no claim; else the columns behind it say what to call.
CREATE FUNCTION begin_queued(
  p_team text, p_partition_at timestamptz, p_id text, p_workflow_id text, p_run_id text, p_buffer_limit integer, p_short_ms bigint
) RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timeout_ms bigint,
                 attempt integer, input json, has_input boolean, slot timestamptz, job_id text, max_attempts integer, service json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row    job_executions%ROWTYPE;
  v_admit  record;
BEGIN
  v_row := claim_at_once(p_team, p_partition_at, p_id, p_workflow_id, p_run_id, p_short_ms);
  IF v_row.id IS NULL THEN
    SELECT * INTO v_admit FROM admit_queued(p_team, p_partition_at, p_id, p_workflow_id, p_run_id, p_buffer_limit);
    IF v_admit.decision = 'run' THEN v_row := claim_at_once(p_team, p_partition_at, p_id, p_workflow_id, p_run_id, p_short_ms); END IF;
  END IF;
  IF v_row.id IS NOT NULL THEN
    RETURN QUERY SELECT b.* FROM begun(v_row) b;
  ELSIF v_admit.decision IS NOT NULL THEN
    RETURN QUERY SELECT v_admit.decision, v_admit.id, v_admit.reason, v_admit.due_at, v_admit.tries, v_admit.generation, v_admit.job_name, v_admit.document,
                        v_admit.timeout_ms, NULL::integer, NULL::json, NULL::boolean, NULL::timestamptz, NULL::text, NULL::integer, NULL::json;
  END IF;
END $$;

-- admit_slot of a dedicated clock, and the claim where it can be had at once.
CREATE FUNCTION begin_slot(
  p_team text, p_clock text, p_nominal timestamptz, p_timing_hash text, p_successor timestamptz, p_run_id text, p_buffer_limit integer, p_short_ms bigint
) RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timeout_ms bigint,
                 attempt integer, input json, has_input boolean, slot timestamptz, job_id text, max_attempts integer, service json,
                 timing_hash text, timing json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row    job_executions%ROWTYPE;
  v_admit  record;
BEGIN
  FOR v_admit IN SELECT * FROM admit_slot(p_team, p_clock, p_nominal, p_timing_hash, p_successor, NULL, p_run_id, p_buffer_limit) LOOP
    v_row := NULL;
    IF v_admit.decision = 'run' THEN v_row := claim_at_once(p_team, p_nominal, v_admit.id, v_admit.id, p_run_id, p_short_ms); END IF;
    IF v_row.id IS NOT NULL THEN
      RETURN QUERY SELECT b.*, NULL::text, NULL::json FROM begun(v_row) b;
    ELSE
      RETURN QUERY SELECT v_admit.decision, v_admit.id, v_admit.reason, v_admit.due_at, v_admit.tries, v_admit.generation, v_admit.job_name, v_admit.document,
                          NULL::bigint, NULL::integer, NULL::json, NULL::boolean, NULL::timestamptz, NULL::text, NULL::integer, NULL::json, v_admit.timing_hash, v_admit.timing;
    END IF;
  END LOOP;
END $$;
