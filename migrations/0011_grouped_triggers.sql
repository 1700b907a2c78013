-- Triggers share a statement, and those that came together share a workflow (semantics.md 16). admit_trigger stays for processes of the release before.

-- Admits what many people ask for at once: triggers, retries, backfills, in the order in which they came. What becomes of each is what admit_trigger would have said one by one.
--   p_jobs   the jobs of the items, each once, in id order: they are locked in this order
--   p_items  [{ job, id, at (partition), kind, slot, input, has (an input of its own), by, retryOf, gen (pinned), timeout (ms), request }]
--   p_open   { queue: pool id }: groups of that queue that still gather; who comes now is in their company
--   p_fresh  uuid of the groups that begin here: group-<queue>-<p_fresh>
--   p_audit  false: the caller writes one event for all of them
-- An execution that may run joins a group when its job wants that, or when it has company and nothing against it; it has a workflow of its own otherwise.
-- Answers one row per kind of outcome: `items` are the places (from 0) in p_items that it holds for. verdict as in admit_trigger;
-- `ended`: the status of those that made room at once for a newer one of the same statement, else null.
CREATE FUNCTION admit_triggers(p_team text, p_jobs text[], p_items json, p_open json, p_fresh text, p_buffer_limit integer, p_audit boolean)
RETURNS TABLE (items json, verdict text, ended text, pause jsonb, job_name text, generation bigint, due_at timestamptz, max_attempts integer, priority smallint,
               queue text, pool text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now      timestamptz;
  v_job      text;
  v_overlap  text;
  v_room     boolean := false;
BEGIN
  FOREACH v_job IN ARRAY p_jobs LOOP
    SELECT r.overlap INTO v_overlap FROM job_runtime r WHERE r.job_id = v_job AND r.team = p_team FOR UPDATE;
    v_room := v_room OR v_overlap IN ('cancel_other', 'terminate_other');
  END LOOP;
  v_now := clock_timestamp();

  IF v_room THEN
    FOREACH v_job IN ARRAY p_jobs LOOP
      SELECT r.overlap INTO v_overlap FROM job_runtime r
       WHERE r.job_id = v_job AND r.team = p_team AND r.overlap IN ('cancel_other', 'terminate_other') AND r.active + r.waiting > 0
         AND r.enabled AND NOT (r.paused_at IS NOT NULL AND r.block_manual);
      IF FOUND THEN PERFORM make_room(p_team, v_job, v_overlap, ''); END IF;
    END LOOP;
  END IF;

  RETURN QUERY
  WITH runtime AS MATERIALIZED (
    -- by key, one by one: whatever the planner knew of the table when it made this plan
    SELECT r.* FROM unnest(p_jobs) AS u (job) CROSS JOIN LATERAL (SELECT r.* FROM job_runtime r WHERE r.job_id = u.job LIMIT 1) r WHERE r.team = p_team
  ), asked AS MATERIALIZED (
    SELECT i.*, row_number() OVER (PARTITION BY i.job ORDER BY i.nth)::integer AS place, count(*) OVER (PARTITION BY i.job) AS asked_of_job
      FROM ROWS FROM (json_to_recordset(p_items) AS (
             job text, id text, at timestamptz, kind text, slot timestamptz, input json, has boolean, by text, "retryOf" text, gen bigint, timeout bigint, request text))
           WITH ORDINALITY AS i (job, id, at, kind, slot, input, has, by, retry_of, gen, timeout, request, nth)
  ), judged AS MATERIALIZED (
    SELECT a.*, r.job_name, coalesce(a.gen, r.generation) AS generation, r.generation AS current, r.max_attempts, r.priority, r.queue, r.dispatch_wish, r.overlap,
           r.poolable AND r.dispatch_wish <> 'dedicated' AND a.gen IS NULL AND coalesce(a.timeout, 0) <= 10000 AS may_share,
           CASE
             WHEN r.job_id IS NULL THEN 'not_found'
             WHEN NOT r.enabled THEN 'disabled'
             WHEN r.paused_at IS NOT NULL AND r.block_manual THEN 'paused'
             -- whoever came before in this statement has made room already
             WHEN r.overlap IN ('cancel_other', 'terminate_other') THEN overlap_verdict(r.overlap, r.active, r.waiting, p_buffer_limit)
             -- the counters as those before have left them: the first ones run while nothing else does, the others ask to wait behind them
             ELSE overlap_verdict(r.overlap, r.active + least(a.place - 1, first.runs), r.waiting + greatest(a.place - 1 - first.runs, 0), p_buffer_limit)
           END AS verdict,
           CASE WHEN a.place < a.asked_of_job THEN CASE r.overlap WHEN 'cancel_other' THEN 'cancelled' WHEN 'terminate_other' THEN 'terminated' END END AS made_room
      FROM asked a
      LEFT JOIN runtime r ON r.job_id = a.job
      LEFT JOIN LATERAL (SELECT greatest(0, 1 - (r.active + r.waiting)) AS runs) first ON true
  ), placed AS MATERIALIZED (
    SELECT j.*, j.verdict IN ('run', 'wait') AS accepted,
           CASE WHEN j.verdict IN ('run', 'wait') THEN j.made_room END AS ended,
           CASE WHEN j.verdict = 'run' AND j.made_room IS NULL AND j.may_share
                 AND (j.dispatch_wish = 'pooled' OR p_open ->> j.queue IS NOT NULL
                      OR count(*) FILTER (WHERE j.verdict = 'run' AND j.made_room IS NULL AND j.may_share) OVER (PARTITION BY j.queue) >= 2)
                THEN coalesce(p_open ->> j.queue, 'group-' || j.queue || '-' || p_fresh) END AS pool
      FROM judged j
  ), inserted AS (
    INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, pinned, trigger, slot, due_at, status, waiting, counted, reason,
                                max_attempts, priority, queue, dispatch, workflow_id, retry_of, requested_by, input, has_input, timeout_ms, created_at, finished_at)
    SELECT p.at, p.id, p_team, p.job, p.job_name, p.generation, p.gen IS NOT NULL, p.kind, p.slot, v_now,
           CASE WHEN p.ended IS NOT NULL THEN p.ended WHEN p.accepted THEN 'queued' ELSE 'skipped' END,
           p.verdict = 'wait' AND p.ended IS NULL, p.accepted AND p.ended IS NULL,
           CASE WHEN p.ended IS NOT NULL THEN p.overlap WHEN NOT p.accepted THEN p.verdict END,
           p.max_attempts, p.priority, p.queue, CASE WHEN p.pool IS NULL THEN 'dedicated' ELSE 'pooled' END, coalesce(p.pool, p.id),
           p.retry_of, p.by, CASE WHEN p.has THEN coalesce(p.input, 'null') END, p.has, p.timeout, v_now,
           CASE WHEN p.ended IS NOT NULL OR NOT p.accepted THEN v_now END
      FROM placed p WHERE p.verdict NOT IN ('not_found', 'disabled', 'paused')
  ), counted AS (
    UPDATE job_runtime r SET active = r.active + n.running, waiting = r.waiting + n.waiting
      FROM (SELECT p.job, count(*) FILTER (WHERE p.verdict = 'run')::integer AS running, count(*) FILTER (WHERE p.verdict = 'wait')::integer AS waiting
              FROM placed p WHERE p.accepted AND p.ended IS NULL GROUP BY p.job) n
     WHERE r.job_id = n.job
  ), audited AS (
    INSERT INTO audit_events (team, at, actor, action, subject_kind, subject_id, after, request_id)
    SELECT p_team, v_now, p.by, CASE p.kind WHEN 'retry' THEN 'execution.retried' ELSE 'job.triggered' END, 'job', p.job,
           json_build_object('execution', p.id, 'verdict', p.verdict, 'retryOf', p.retry_of), p.request
      FROM placed p WHERE p_audit AND p.verdict NOT IN ('not_found', 'disabled', 'paused')
     ORDER BY p.nth
  )
  SELECT json_agg(p.nth - 1 ORDER BY p.nth), p.verdict, p.ended,
         CASE WHEN p.verdict = 'paused' THEN (SELECT j.pause FROM jobs j WHERE j.id = p.job AND j.team = p_team) END,
         p.job_name, p.current, v_now, p.max_attempts, p.priority, p.queue, p.pool
    FROM placed p
   GROUP BY p.job, p.verdict, p.ended, p.job_name, p.current, p.max_attempts, p.priority, p.queue, p.pool;
END $$;

-- Plans as in 0005.
ALTER FUNCTION admit_triggers(text, text[], json, json, text, integer, boolean) SET plan_cache_mode = force_generic_plan;
