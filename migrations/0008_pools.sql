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

-- A later try comes no sooner than this; null: as the backoff of the definition says.
ALTER TABLE job_executions ADD COLUMN retry_at timestamptz;
-- Nobody ever read it.
DROP INDEX job_executions_by_start;
-- The unfinished rows of a pool, in the order in which they are cut into chunks.
CREATE INDEX job_executions_of_pool ON job_executions (workflow_id, id) WHERE dispatch = 'pooled' AND status IN ('queued', 'running');
-- One-offs that are still ahead, by the second in which they are due.
CREATE INDEX job_executions_once_ahead ON job_executions (queue, due_at) WHERE trigger = 'once' AND status = 'queued';

-- When the jobs of a timing last moved between dedicated and pooled clocks (semantics.md 21: at most once an hour).
ALTER TABLE timings ADD COLUMN converted_at timestamptz;
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
          checked_until = CASE WHEN c.deleted_at IS NULL AND c.empty_since IS NULL THEN c.checked_until ELSE excluded.checked_until END,
          empty_since = NULL, deleted_at = NULL
    RETURNING c.generation, c.observed_generation, c.generation <> c.observed_generation;
END $$;
