-- Executions may share a workflow, a *pool*: thousands of short calls cost Temporal as much as one (docs/decisions/0010).
-- A pooled execution is a row with dispatch 'pooled' whose workflow_id is the pool's. Everything else about it is as before.

-- What a job wants (dispatch_wish), whether its target is short enough (poolable), and what its slots do now (dispatch, since 0001) and why (dispatch_reason).
ALTER TABLE job_runtime
  ADD COLUMN dispatch_wish text NOT NULL DEFAULT 'auto' CHECK (dispatch_wish IN ('auto', 'dedicated', 'pooled')),
  ADD COLUMN poolable boolean NOT NULL DEFAULT false,
  ADD COLUMN dispatch_reason text;
UPDATE job_runtime r
   SET dispatch_wish = coalesce(j.document ->> 'dispatch', 'auto'),
       poolable = coalesce(j.document #>> '{target,type}' IN ('http', 'handler') AND r.timeout_ms <= 10000, false)
  FROM jobs j WHERE j.id = r.job_id;

-- Which part of its pool's workflow made (or makes) the call: `<activity id>@<worker>`; null: it has a workflow of its own.
ALTER TABLE job_executions ADD COLUMN chunk text;
-- A later try comes no sooner than this; null: as the backoff of the definition says.
ALTER TABLE job_executions ADD COLUMN retry_at timestamptz;
-- Nobody ever read it.
DROP INDEX job_executions_by_start;
-- The unfinished rows of a pool, in the order in which they are cut into chunks.
CREATE INDEX job_executions_of_pool ON job_executions (workflow_id, id) WHERE dispatch = 'pooled' AND status IN ('queued', 'running');
-- One-offs that are still ahead, by the second in which they are due.
CREATE INDEX job_executions_once_ahead ON job_executions (queue, due_at) WHERE trigger = 'once' AND status = 'queued';

-- When the jobs of a timing last moved between dedicated and pooled clocks (semantics.md 21: at most once an hour).
ALTER TABLE timings
  ADD COLUMN converted_at timestamptz,
  -- and which way; those that are left follow without waiting for the hour
  ADD COLUMN converted_to text CHECK (converted_to IN ('dedicated', 'pooled'));
CREATE INDEX clock_members_open_by_timing ON clock_members (timing_hash) WHERE valid_to = 'infinity';

-- What a workflow start needs to know of a row. For a pooled row it is the pool's workflow that is started.
CREATE OR REPLACE FUNCTION start_of(e job_executions) RETURNS json STABLE LANGUAGE sql
  RETURN json_build_object('team', e.team, 'id', e.id, 'partitionAt', e.partition_at, 'workflowId', e.workflow_id, 'queue', e.queue,
                           'dueAt', e.due_at, 'priority', e.priority, 'jobName', e.job_name, 'dispatch', e.dispatch);

-- Joins a pooled clock (semantics.md 8): makes it, or keeps it from being taken away until the joiner commits, or takes it back.
-- Joiners of a clock that is there share its lock, so that they do not wait for each other; only `raised` ones have something to reconcile in Temporal.
CREATE FUNCTION join_pooled_clock(p_team text, p_clock text, p_timing_hash text, p_queue text, p_next_slot timestamptz, p_at timestamptz)
RETURNS TABLE (generation bigint, observed_generation bigint, raised boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT c.generation, c.observed_generation, false FROM clocks c
     WHERE c.id = p_clock AND c.team = p_team AND c.queue = p_queue AND c.deleted_at IS NULL AND c.empty_since IS NULL AND NOT c.paused
       AND c.next_check_at <= p_next_slot + late_after() + interval '1 second'
       FOR SHARE;
  IF FOUND THEN RETURN; END IF;
  RETURN QUERY
    INSERT INTO clocks AS c (id, team, kind, timing_hash, queue, next_check_at, checked_until)
    VALUES (p_clock, p_team, 'pooled', p_timing_hash, p_queue, p_next_slot + late_after(), p_at)
    ON CONFLICT (id) DO UPDATE
      SET paused = false,
          -- Temporal has something to learn only when the clock was shown paused, or was to go
          generation = c.generation + (c.paused OR c.deleted_at IS NOT NULL)::integer,
          reconcile_at = CASE WHEN c.paused OR c.deleted_at IS NOT NULL THEN now() ELSE c.reconcile_at END,
          failures = CASE WHEN c.paused OR c.deleted_at IS NOT NULL THEN 0 ELSE c.failures END,
          next_check_at = least(c.next_check_at, excluded.next_check_at),
          -- it is checked from where its check had come to: members who left it may have a slot without a row
          empty_since = NULL, deleted_at = NULL
    RETURNING c.generation, c.observed_generation, c.generation <> c.observed_generation;
END $$;

-- admit_slot as in 0003, with two things said of the rows it writes: those of a shared workflow (p_workflow_id) are pooled, and those that wait never are,
-- because whoever lets them go on starts a workflow of their own.
CREATE OR REPLACE FUNCTION admit_slot(
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
    SELECT r.job_id, r.job_id || '-' || v_text AS id, r.job_name, r.generation, r.offset_s, r.max_attempts, r.priority, r.queue, m.valid_to,
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
           v.max_attempts, v.priority, v.queue, CASE WHEN p_workflow_id IS NULL OR v.verdict = 'wait' THEN 'dedicated' ELSE 'pooled' END,
           CASE WHEN v.verdict = 'wait' THEN v.id ELSE coalesce(p_workflow_id, v.id) END, CASE WHEN v.verdict = 'run' THEN p_run_id END,
           v_now, CASE WHEN v.verdict NOT IN ('run', 'wait') THEN v_now END
      FROM verdicts v
    ON CONFLICT DO NOTHING
    RETURNING e.job_id, e.waiting, e.counted
  )
  UPDATE job_runtime r
     SET active = r.active + (i.counted AND NOT i.waiting)::integer,
         waiting = r.waiting + (i.counted AND i.waiting)::integer,
         next_run_at = CASE WHEN r.next_run_at <= p_nominal THEN CASE WHEN p_successor < v.valid_to THEN p_successor END ELSE r.next_run_at END
    -- by the index: of two lists of thousands the planner expects one row each, and would compare them all
    FROM inserted i JOIN clock_members v ON v.clock_id = p_clock AND v.job_id = i.job_id AND v.valid_from <= p_nominal AND p_nominal < v.valid_to
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
             WHEN e.waiting THEN 'wait'
             WHEN e.workflow_id <> coalesce(p_workflow_id, e.id) THEN 'duplicate'
             ELSE 'run'
           END,
           m.job_id || '-' || v_text, e.reason, e.due_at, e.tries, e.generation, e.job_name, d.document, NULL::text, NULL::json
      FROM clock_members m
      LEFT JOIN job_executions e ON e.partition_at = p_nominal AND e.id = m.job_id || '-' || v_text
      LEFT JOIN job_revisions d ON d.job_id = e.job_id AND d.generation = e.generation AND e.status IN ('queued', 'running')
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to;
END $$;
ALTER FUNCTION admit_slot SET plan_cache_mode = force_generic_plan;
