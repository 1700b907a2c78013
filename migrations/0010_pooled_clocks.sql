-- Jobs come to shared clocks and leave them.

-- The memberships of a clock that matter after a moment: a shared clock gathers ended ones.
CREATE INDEX clock_members_of_clock ON clock_members (clock_id, valid_to);

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
