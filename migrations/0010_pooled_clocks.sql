-- Jobs come to shared clocks and leave them.

-- Which way the jobs of a timing were moved last; those that are left follow without waiting for the hour (semantics.md 21).
ALTER TABLE timings ADD COLUMN converted_to text CHECK (converted_to IN ('dedicated', 'pooled'));
-- The memberships of a clock that matter after a moment: a shared clock gathers ended ones.
CREATE INDEX clock_members_of_clock ON clock_members (clock_id, valid_to);

-- As in 0008, but a clock that is taken back is checked from where its check had come to: members who left it may have a slot without a row.
CREATE OR REPLACE FUNCTION join_pooled_clock(p_team text, p_clock text, p_timing_hash text, p_queue text, p_next_slot timestamptz, p_at timestamptz)
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
          empty_since = NULL, deleted_at = NULL
    RETURNING c.generation, c.observed_generation, c.generation <> c.observed_generation;
END $$;

-- Nothing joins the pool of a second that is about to be served.
CREATE FUNCTION can_wait_in_bucket(p_due_at timestamptz) RETURNS boolean LANGUAGE sql RETURN p_due_at >= clock_timestamp() + interval '2 seconds';

-- True when another one-off of this second is ahead, and far enough ahead that its pool is not being served yet: then they may share a workflow (semantics.md 17).
CREATE FUNCTION is_second_taken(p_team text, p_queue text, p_due_at timestamptz, p_except_job text) RETURNS boolean STABLE LANGUAGE plpgsql AS $$
BEGIN
  RETURN can_wait_in_bucket(p_due_at) AND EXISTS (
    SELECT 1 FROM job_executions e
     WHERE e.team = p_team AND e.queue = p_queue AND e.trigger = 'once' AND e.status = 'queued' AND NOT e.counted AND e.job_id <> p_except_job
       AND e.due_at >= date_trunc('second', p_due_at) AND e.due_at < date_trunc('second', p_due_at) + interval '1 second');
END $$;
ALTER FUNCTION is_second_taken SET plan_cache_mode = force_generic_plan;
