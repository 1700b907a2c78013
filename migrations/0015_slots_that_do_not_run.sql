-- Slots that are not to run (semantics.md 1, 5, 13, 24): admit and claim look at changes of clocks, calendars and freezes; triggers say more about what they want; what
-- people may want to hear of is raised where it happens. How it is decided: docs/decisions/0012.

ALTER TABLE job_runtime
  ADD COLUMN IF NOT EXISTS notify_succeeded boolean NOT NULL DEFAULT false, -- somebody wants to hear of each success
  ADD COLUMN IF NOT EXISTS alarm text,                                     -- what the watchdog has told; the next success takes it back
  ADD COLUMN IF NOT EXISTS alarm_at timestamptz;
-- The freeze that holds (or held) a row back, or because of which it was skipped.
ALTER TABLE job_executions ADD COLUMN freeze_id text;
-- Freezes by their end: whichever hold a moment are found without looking at those that were over by then, settled or not.
CREATE INDEX freezes_by_end ON freezes ((coalesce(ended_at, to_at, 'infinity'::timestamptz)));

-- The freeze that holds a job at a moment; null: none does. Of several the one that began first. One look into an index where the team has none.
CREATE FUNCTION freeze_holding(p_team text, p_job text, p_at timestamptz) RETURNS freezes STABLE LANGUAGE plpgsql AS $$
DECLARE
  v_freeze  freezes%ROWTYPE;
  v_job     jobs%ROWTYPE;
BEGIN
  FOR v_freeze IN
    SELECT f.* FROM freezes f
     WHERE coalesce(f.ended_at, f.to_at, 'infinity'::timestamptz) > p_at AND f.from_at <= p_at AND (f.team = p_team OR f.scope = 'global')
     ORDER BY f.from_at, f.id
  LOOP
    IF v_freeze.scope IN ('global', 'team') THEN RETURN v_freeze; END IF;
    IF v_job.id IS NULL THEN SELECT j.* INTO v_job FROM jobs j WHERE j.id = p_job AND j.team = p_team; END IF;
    IF freeze_covers(v_freeze, v_job) THEN RETURN v_freeze; END IF;
  END LOOP;
  RETURN NULL;
END $$;

-- True when some freeze holds somebody of a team at a moment: statements for many rows ask for each of them only then.
CREATE FUNCTION any_freeze(p_team text, p_at timestamptz) RETURNS boolean STABLE LANGUAGE plpgsql AS $$
BEGIN
  RETURN EXISTS (
    SELECT 1 FROM freezes f
     WHERE coalesce(f.ended_at, f.to_at, 'infinity'::timestamptz) > p_at AND f.from_at <= p_at AND (f.team = p_team OR f.scope = 'global'));
END $$;

-- What a job's own policy says of a moment that is marked (timing_marks): dst_gap | dst_repeat; null: it runs.
CREATE FUNCTION dst_stop(p_kind text, p_gap text, p_repeat text) RETURNS text IMMUTABLE PARALLEL SAFE LANGUAGE sql
  RETURN CASE p_kind
    WHEN 'gap' THEN CASE WHEN p_gap = 'skip' THEN 'dst_gap' END
    WHEN 'odd' THEN 'dst_gap'
    WHEN 'repeat_first' THEN CASE WHEN p_repeat = 'last' THEN 'dst_repeat' END
    WHEN 'repeat_last' THEN CASE WHEN coalesce(p_repeat, 'first') = 'first' THEN 'dst_repeat' END
    WHEN 'hourly_first' THEN CASE WHEN p_repeat = 'last' THEN 'dst_repeat' END
    WHEN 'hourly_last' THEN CASE WHEN p_repeat = 'first' THEN 'dst_repeat' END
  END;

-- Why a slot of a job is not to run, and the stretch [from_at, to_at) for which that is so; of a change of clocks only the reason.
CREATE TYPE slot_stop AS (reason text, from_at timestamptz, to_at timestamptz, freeze_id text, calendar text);

-- The calendar that keeps a moment from running, with its day (or days); of several it runs inside of, the first is named, with the gap between them. Null: none does.
CREATE FUNCTION calendar_stop(p_team text, p_include text[], p_exclude text[], p_zone text, p_at timestamptz) RETURNS slot_stop STABLE LANGUAGE plpgsql AS $$
DECLARE
  v_name  text;
  v_from  timestamptz;
  v_to    timestamptz;
  v_stop  slot_stop;
BEGIN
  IF p_exclude IS NOT NULL THEN
    FOREACH v_name IN ARRAY p_exclude LOOP
      -- spans do not overlap: the last one that has begun is the only one that can hold the moment
      SELECT s.from_at, s.to_at INTO v_from, v_to FROM calendar_spans s
       WHERE s.team = p_team AND s.calendar = v_name AND s.zone = p_zone AND s.from_at <= p_at ORDER BY s.from_at DESC LIMIT 1;
      IF p_at < v_to THEN RETURN ROW ('excluded', v_from, v_to, NULL, v_name)::slot_stop; END IF;
    END LOOP;
  END IF;
  IF p_include IS NULL THEN RETURN NULL; END IF;
  v_stop := ROW ('excluded', '-infinity', 'infinity', NULL, p_include[1])::slot_stop;
  FOREACH v_name IN ARRAY p_include LOOP
    SELECT s.to_at INTO v_to FROM calendar_spans s
     WHERE s.team = p_team AND s.calendar = v_name AND s.zone = p_zone AND s.from_at <= p_at ORDER BY s.from_at DESC LIMIT 1;
    IF p_at < v_to THEN RETURN NULL; END IF;
    SELECT s.from_at INTO v_from FROM calendar_spans s
     WHERE s.team = p_team AND s.calendar = v_name AND s.zone = p_zone AND s.from_at > p_at ORDER BY s.from_at LIMIT 1;
    v_stop.from_at := greatest(v_stop.from_at, v_to);
    v_stop.to_at := least(v_stop.to_at, v_from);
    -- nobody has worked out its days at that time: what is not known keeps nothing from running
    IF NOT EXISTS (SELECT 1 FROM calendar_zones z WHERE z.team = p_team AND z.calendar = v_name AND z.zone = p_zone AND z.spans_from <= p_at AND p_at < z.spans_until) THEN
      RETURN NULL;
    END IF;
  END LOOP;
  RETURN v_stop;
END $$;

-- Why a slot of a job is not to run by its nominal time: dst_gap, dst_repeat, excluded or frozen; null: nothing speaks against it. A slot that a job does not want anyway
-- is no loss of a freeze, so that this is asked last.
CREATE FUNCTION slot_stop_of(p_team text, p_job text, p_timing_hash text, p_at timestamptz) RETURNS slot_stop STABLE LANGUAGE plpgsql AS $$
DECLARE
  v_runtime  job_runtime%ROWTYPE;
  v_freeze   freezes%ROWTYPE;
  v_kind     text;
  v_stop     slot_stop;
BEGIN
  SELECT r.* INTO v_runtime FROM job_runtime r WHERE r.job_id = p_job AND r.team = p_team;
  SELECT k.kind INTO v_kind FROM timing_marks k WHERE k.timing_hash = p_timing_hash AND k.slot = p_at;
  IF dst_stop(v_kind, v_runtime.dst_gap, v_runtime.dst_repeat) IS NOT NULL THEN
    RETURN ROW (dst_stop(v_kind, v_runtime.dst_gap, v_runtime.dst_repeat), p_at, p_at, NULL, NULL)::slot_stop;
  END IF;
  IF v_runtime.calendar_zone IS NOT NULL THEN
    v_stop := calendar_stop(p_team, v_runtime.include_calendars, v_runtime.exclude_calendars, v_runtime.calendar_zone, p_at);
    IF v_stop.reason IS NOT NULL THEN RETURN v_stop; END IF;
  END IF;
  v_freeze := freeze_holding(p_team, p_job, p_at);
  IF v_freeze.id IS NULL THEN RETURN NULL; END IF;
  RETURN ROW ('frozen', v_freeze.from_at, coalesce(v_freeze.ended_at, v_freeze.to_at, 'infinity'::timestamptz), v_freeze.id, NULL)::slot_stop;
END $$;

-- True when a later slot of the job is due by now and runs, so that catch-up `last` leaves this one out (semantics.md 13). p_later: its later slots, in order.
CREATE FUNCTION is_superseded(p_team text, p_job text, p_timing_hash text, p_valid_to timestamptz, p_later timestamptz[], p_now timestamptz) RETURNS boolean STABLE LANGUAGE plpgsql AS $$
DECLARE
  v_at     timestamptz;
  v_until  timestamptz := '-infinity';
  v_stop   slot_stop;
BEGIN
  IF p_later IS NULL THEN RETURN false; END IF;
  FOREACH v_at IN ARRAY p_later LOOP
    EXIT WHEN v_at > p_now OR v_at >= p_valid_to;
    CONTINUE WHEN v_at < v_until;
    SELECT coalesce(g.to_at, 'infinity') INTO v_until FROM slot_ranges g
     WHERE g.job_id = p_job AND g.from_at <= v_at AND (g.to_at IS NULL OR v_at < g.to_at) LIMIT 1;
    CONTINUE WHEN FOUND;
    -- one that met another of its job is as good as one that ran: something did
    PERFORM 1 FROM job_executions e WHERE e.partition_at = v_at AND e.id = p_job || '-' || slot_text(v_at) AND e.status = 'skipped' AND e.reason <> 'skipped_overlap';
    CONTINUE WHEN FOUND;
    v_stop := slot_stop_of(p_team, p_job, p_timing_hash, v_at);
    IF v_stop.reason IS NULL THEN RETURN true; END IF;
    v_until := v_stop.to_at;
  END LOOP;
  RETURN false;
END $$;

-- Writes of some members of a clock whose slot lies in a freeze or is excluded by their calendars that it does not run: one range row per stretch,
-- which ends behind the last slot it has swallowed and grows with each, so that at any time it covers exactly what it was asked about, whatever becomes of freeze, calendar or
-- job meanwhile. The caller holds the jobs' locks. Repeating it for a slot changes nothing.
CREATE FUNCTION swallow_slot_of(p_team text, p_clock text, p_nominal timestamptz, p_timing_hash text, p_successor timestamptz, p_next_kind text, p_jobs text[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WITH stopped AS MATERIALIZED (
    SELECT m.job_id, m.valid_to, (s.stop).reason, (s.stop).from_at, (s.stop).freeze_id, (s.stop).calendar
      FROM unnest(p_jobs) AS u (job)
     CROSS JOIN LATERAL (
             SELECT m.job_id, m.valid_to FROM clock_members m
              WHERE m.clock_id = p_clock AND m.job_id = u.job AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to LIMIT 1) m
     CROSS JOIN LATERAL (SELECT slot_stop_of(p_team, m.job_id, p_timing_hash, p_nominal) AS stop OFFSET 0) s
     WHERE (s.stop).reason IN ('excluded', 'frozen')
       AND NOT EXISTS (
         SELECT 1 FROM slot_ranges g WHERE g.job_id = m.job_id AND g.from_at <= p_nominal AND (g.to_at IS NULL OR p_nominal < g.to_at))
       AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE e.partition_at = p_nominal AND e.id = m.job_id || '-' || slot_text(p_nominal))
  ), grown AS (
    UPDATE slot_ranges g SET to_at = p_nominal + interval '1 second', count = g.count + 1
      FROM stopped s CROSS JOIN LATERAL (
             SELECT n.from_at, n.reason FROM slot_ranges n WHERE n.job_id = s.job_id AND n.from_at <= p_nominal ORDER BY n.from_at DESC LIMIT 1) newest
     WHERE g.job_id = s.job_id AND g.from_at = newest.from_at AND g.reason = newest.reason AND g.reason = s.reason
       AND g.freeze_id IS NOT DISTINCT FROM s.freeze_id AND g.calendar IS NOT DISTINCT FROM s.calendar
       -- the same stretch, of which nothing has run meanwhile, and about which nobody has decided yet
       AND g.from_at >= s.from_at AND g.to_at <= p_nominal AND g.settled_at IS NULL
       AND NOT EXISTS (
         SELECT 1 FROM job_executions e
          WHERE e.job_id = s.job_id AND e.partition_at >= g.to_at AND e.partition_at < p_nominal AND e.trigger = 'schedule')
    RETURNING g.job_id
  ), begun AS (
    INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at, count, by, freeze_id, calendar)
    SELECT p_team, s.job_id, s.reason, p_nominal, p_nominal + interval '1 second', 1, 'almanac', s.freeze_id, s.calendar
      FROM stopped s WHERE s.job_id NOT IN (SELECT g.job_id FROM grown g)
    ON CONFLICT DO NOTHING
  )
  UPDATE job_runtime r
     SET next_run_at = CASE WHEN p_successor < s.valid_to THEN p_successor END,
         next_run_unsure = (p_successor < s.valid_to AND (r.calendar_zone IS NOT NULL OR dst_stop(p_next_kind, r.dst_gap, r.dst_repeat) IS NOT NULL)) IS TRUE
    FROM stopped s
   WHERE r.job_id = s.job_id AND r.next_run_at <= p_nominal;
END $$;

-- The same for one job, or for those between two.
CREATE FUNCTION swallow_slot(p_team text, p_clock text, p_nominal timestamptz, p_timing_hash text, p_successor timestamptz, p_next_kind text, p_from text, p_to text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM swallow_slot_of(p_team, p_clock, p_nominal, p_timing_hash, p_successor, p_next_kind, ARRAY(
    SELECT m.job_id FROM clock_members m
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.job_id >= p_from AND m.job_id <= p_to AND m.valid_from <= p_nominal AND p_nominal < m.valid_to ORDER BY m.job_id));
END $$;

-- Holds a row back until the freeze is over that is in force: it waits, in nobody's workflow, and is let go by release_next. The caller holds the job's lock and has found the
-- row unfinished. A claim whose worker has died is told as lost, so that nobody is thought to be calling.
CREATE FUNCTION hold_execution(p_team text, p_partition_at timestamptz, p_id text, p_freeze text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_row  job_executions%ROWTYPE;
BEGIN
  SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team;
  IF v_row.waiting THEN RETURN; END IF;
  IF is_call_open(v_row) THEN
    INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, error)
    VALUES (p_partition_at, p_id, v_row.attempt, p_team, 'lost', v_row.started_at, clock_timestamp(),
            json_build_object('type', 'lost', 'message', 'the worker ended before it could record an outcome', 'attempt', v_row.attempt))
    ON CONFLICT DO NOTHING;
  END IF;
  UPDATE job_executions e
     SET waiting = true, counted = true, reason = 'frozen', freeze_id = p_freeze, run_id = NULL, chunk = NULL,
         -- what waits is never pooled: whoever lets it go on starts a workflow of its own
         workflow_id = CASE WHEN e.dispatch = 'pooled' THEN e.id ELSE e.workflow_id END, dispatch = 'dedicated'
   WHERE e.partition_at = p_partition_at AND e.id = p_id;
  UPDATE job_runtime r
     SET active = r.active - v_row.counted::integer, waiting = r.waiting + 1,
         next_run_at = CASE WHEN v_row.trigger = 'once' THEN NULL ELSE r.next_run_at END
   WHERE r.job_id = v_row.job_id AND r.team = p_team;
END $$;

-- Lets the next waiting row of a job start when nothing of it is active: in slot order, else in the order of acceptance; what is run again for a time long past goes behind
-- what is due now. Nothing goes on while a freeze holds the job. What waits of a job with allow_all waited for a freeze alone, and goes on together: one is answered, the
-- controller finds the others. The caller holds the job's lock. Returns what a start needs, or null.
CREATE OR REPLACE FUNCTION release_next(p_team text, p_job text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  v_next      record;
  v_overlap   text;
  v_released  integer;
BEGIN
  SELECT r.overlap INTO v_overlap FROM job_runtime r
   WHERE r.job_id = p_job AND r.team = p_team AND (r.active <= 0 OR r.overlap = 'allow_all') AND r.waiting > 0;
  IF NOT FOUND OR (freeze_holding(p_team, p_job, clock_timestamp())).id IS NOT NULL THEN RETURN NULL; END IF;
  SELECT e.partition_at, e.id INTO v_next FROM job_executions e
   WHERE e.job_id = p_job AND e.team = p_team AND e.waiting AND e.finished_at IS NULL AND e.status IN ('queued', 'running')
   ORDER BY e.trigger = 'backfill', coalesce(e.slot, e.created_at), e.created_at, e.id LIMIT 1;
  IF NOT FOUND THEN
    UPDATE job_runtime r SET waiting = 0 WHERE r.job_id = p_job;
    RETURN NULL;
  END IF;
  IF v_overlap = 'allow_all' THEN
    UPDATE job_executions e SET waiting = false, run_id = NULL, reason = CASE WHEN e.reason = 'frozen' THEN NULL ELSE e.reason END
     WHERE e.job_id = p_job AND e.team = p_team AND e.waiting AND e.finished_at IS NULL AND e.status IN ('queued', 'running');
  ELSE
    UPDATE job_executions e SET waiting = false, run_id = NULL, reason = CASE WHEN e.reason = 'frozen' THEN NULL ELSE e.reason END
     WHERE e.partition_at = v_next.partition_at AND e.id = v_next.id;
  END IF;
  GET DIAGNOSTICS v_released = ROW_COUNT;
  UPDATE job_runtime r SET active = r.active + v_released, waiting = r.waiting - v_released WHERE r.job_id = p_job;
  RETURN (SELECT start_of(e) FROM job_executions e WHERE e.partition_at = v_next.partition_at AND e.id = v_next.id);
END $$;

-- admit_slot as in 0008 for a slot that some of its members may not want.
--   p_later  the slots after this one, in order: its successor, and those behind that which are due by now (empty: none)
-- A slot in a stretch that a freeze or a calendar swallows is answered as `paused`: it has a range row. One that a freeze in force now keeps from running, although it lies
-- before it, is skipped with a row, as in a pause.
CREATE FUNCTION admit_due_slot(
  p_team text, p_clock text, p_nominal timestamptz, p_timing_hash text, p_later timestamptz[], p_workflow_id text, p_run_id text, p_buffer_limit integer
) RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timing_hash text, timing json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now        timestamptz;
  v_late       boolean;
  v_text       text := slot_text(p_nominal);
  v_successor  timestamptz := p_later[1];
  v_calendars  boolean;
  v_jobs       text[];                              -- whose locks are held
  v_frozen     boolean;
  v_kind       text;
  v_next_kind  text;
  v_job        record;
BEGIN
  RETURN QUERY
    SELECT 'stale', NULL::text, NULL::text, NULL::timestamptz, NULL::integer, NULL::bigint, NULL::text, NULL::json, t.hash, t.timing
      FROM clock_members m JOIN timings t ON t.hash = m.timing_hash
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
       AND m.timing_hash IS DISTINCT FROM p_timing_hash
     LIMIT 1;
  IF FOUND THEN RETURN; END IF;

  SELECT bool_or(l.calendars), array_agg(l.job_id) INTO v_calendars, v_jobs FROM (
    SELECT r.job_id, r.calendar_zone IS NOT NULL AS calendars FROM job_runtime r
     WHERE r.team = p_team AND r.job_id IN (
       SELECT m.job_id FROM clock_members m
        WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to)
     ORDER BY r.job_id FOR UPDATE) l;
  v_now := clock_timestamp();
  v_late := v_now > p_nominal + late_after();
  v_frozen := any_freeze(p_team, v_now);
  SELECT max(k.kind) FILTER (WHERE k.slot = p_nominal), max(k.kind) FILTER (WHERE k.slot = v_successor) INTO v_kind, v_next_kind
    FROM timing_marks k WHERE k.timing_hash = p_timing_hash AND k.slot IN (p_nominal, v_successor);
  IF v_calendars OR any_freeze(p_team, p_nominal) THEN
    PERFORM swallow_slot_of(p_team, p_clock, p_nominal, p_timing_hash, v_successor, v_next_kind, v_jobs);
  END IF;

  FOR v_job IN
    SELECT r.job_id, r.overlap FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
       AND r.overlap IN ('cancel_other', 'terminate_other') AND r.active + r.waiting > 0 AND r.paused_at IS NULL AND r.enabled AND NOT v_late
       AND dst_stop(v_kind, r.dst_gap, r.dst_repeat) IS NULL AND NOT (v_frozen AND (freeze_holding(p_team, r.job_id, v_now)).id IS NOT NULL)
       AND NOT EXISTS (
         SELECT 1 FROM slot_ranges s WHERE s.job_id = r.job_id AND s.from_at <= p_nominal AND (s.to_at IS NULL OR p_nominal < s.to_at))
       AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE e.partition_at = p_nominal AND e.id = r.job_id || '-' || v_text)
  LOOP
    PERFORM make_room(p_team, v_job.job_id, v_job.overlap, '');
  END LOOP;

  WITH verdicts AS (
    SELECT r.job_id, r.job_id || '-' || v_text AS id, r.job_name, r.generation, r.offset_s, r.max_attempts, r.priority, r.queue,
           CASE
             WHEN v_kind IS NOT NULL AND dst_stop(v_kind, r.dst_gap, r.dst_repeat) IS NOT NULL THEN dst_stop(v_kind, r.dst_gap, r.dst_repeat)
             WHEN r.paused_at IS NOT NULL OR NOT r.enabled THEN 'paused'
             WHEN v_late AND (r.catch_up = 'none' OR p_nominal < v_now - make_interval(secs => r.catch_up_window_ms / 1000.0)
                              OR (r.catch_up = 'last' AND v_successor <= v_now AND v_successor < m.valid_to
                                  AND is_superseded(p_team, r.job_id, p_timing_hash, m.valid_to, p_later, v_now))) THEN 'missed'
             WHEN v_frozen AND (freeze_holding(p_team, r.job_id, v_now)).id IS NOT NULL THEN 'frozen'
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
    INSERT INTO job_executions AS e (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, waiting, counted, reason, freeze_id,
                                     max_attempts, priority, queue, dispatch, workflow_id, run_id, created_at, finished_at)
    SELECT p_nominal, v.id, p_team, v.job_id, v.job_name, v.generation, 'schedule', p_nominal, p_nominal + make_interval(secs => v.offset_s),
           CASE WHEN v.verdict IN ('run', 'wait') THEN 'queued' ELSE 'skipped' END, v.verdict = 'wait', v.verdict IN ('run', 'wait'),
           CASE WHEN v.verdict NOT IN ('run', 'wait') THEN v.verdict END, CASE WHEN v.verdict = 'frozen' THEN (freeze_holding(p_team, v.job_id, v_now)).id END,
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
         next_run_at = CASE WHEN r.next_run_at <= p_nominal THEN CASE WHEN v_successor < v.valid_to THEN v_successor END ELSE r.next_run_at END,
         next_run_unsure = CASE WHEN r.next_run_at <= p_nominal
                                THEN (v_successor < v.valid_to AND (r.calendar_zone IS NOT NULL OR (v_next_kind IS NOT NULL AND dst_stop(v_next_kind, r.dst_gap, r.dst_repeat) IS NOT NULL))) IS TRUE
                                ELSE r.next_run_unsure END
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

-- For processes of the release before, which know one later slot.
CREATE OR REPLACE FUNCTION admit_slot(
  p_team text, p_clock text, p_nominal timestamptz, p_timing_hash text, p_successor timestamptz, p_workflow_id text, p_run_id text, p_buffer_limit integer
) RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timing_hash text, timing json)
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT * FROM admit_due_slot(p_team, p_clock, p_nominal, p_timing_hash, array_remove(ARRAY[p_successor], NULL), p_workflow_id, p_run_id, p_buffer_limit);
END $$;

-- As in 0003, with freezes: a one-off that comes due in one waits for its end.
CREATE OR REPLACE FUNCTION admit_queued(p_team text, p_partition_at timestamptz, p_id text, p_workflow_id text, p_run_id text, p_buffer_limit integer)
RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timeout_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row      job_executions%ROWTYPE;
  v_runtime  job_runtime%ROWTYPE;
  v_now      timestamptz;
  v_freeze   text;
  v_verdict  text := 'run';
BEGIN
  SELECT r.* INTO v_runtime FROM job_runtime r WHERE r.team = p_team AND r.job_id = left(p_id, 40) FOR UPDATE;
  v_now := clock_timestamp();
  SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team FOR UPDATE;
  IF v_row.id IS NULL OR v_runtime.job_id IS NULL THEN RETURN; END IF;

  IF v_row.status = 'queued' AND NOT v_row.counted AND v_row.workflow_id = p_workflow_id AND v_row.due_at <= v_now + interval '1 second' THEN
    v_freeze := (freeze_holding(p_team, v_row.job_id, v_now)).id;
    IF v_runtime.paused_at IS NOT NULL OR NOT v_runtime.enabled THEN
      v_verdict := 'paused';
    ELSIF v_freeze IS NOT NULL THEN
      v_verdict := 'frozen';
    ELSIF v_now > v_row.slot + late_after()
       AND (v_runtime.catch_up = 'none' OR v_row.slot < v_now - make_interval(secs => v_runtime.catch_up_window_ms / 1000.0)) THEN
      v_verdict := 'missed';
    ELSE
      IF v_runtime.overlap IN ('cancel_other', 'terminate_other') AND v_runtime.active + v_runtime.waiting > 0 THEN
        PERFORM make_room(p_team, v_row.job_id, v_runtime.overlap, p_id);
        SELECT r.* INTO v_runtime FROM job_runtime r WHERE r.job_id = v_row.job_id;
      END IF;
      v_verdict := overlap_verdict(v_runtime.overlap, v_runtime.active, v_runtime.waiting, p_buffer_limit);
    END IF;
    IF v_verdict = 'frozen' THEN
      PERFORM hold_execution(p_team, p_partition_at, p_id, v_freeze);
    ELSIF v_verdict IN ('run', 'wait') THEN
      UPDATE job_executions e SET counted = true, waiting = (v_verdict = 'wait'), run_id = CASE WHEN v_verdict = 'run' THEN p_run_id END
       WHERE e.partition_at = p_partition_at AND e.id = p_id;
      UPDATE job_runtime r SET active = r.active + (v_verdict = 'run')::integer, waiting = r.waiting + (v_verdict = 'wait')::integer, next_run_at = NULL
       WHERE r.job_id = v_row.job_id;
    ELSE
      PERFORM settle(p_team, p_partition_at, p_id, 'skipped', v_verdict, NULL, NULL);
    END IF;
  ELSIF v_row.status IN ('queued', 'running') AND NOT v_row.waiting AND v_row.workflow_id = p_workflow_id AND v_row.run_id IS DISTINCT FROM p_run_id THEN
    UPDATE job_executions e SET run_id = p_run_id WHERE e.partition_at = p_partition_at AND e.id = p_id;
  END IF;

  RETURN QUERY
    SELECT CASE
             WHEN e.status = 'skipped' THEN 'skipped'
             WHEN e.status NOT IN ('queued', 'running') THEN 'ended'
             -- a row that waits may have left the pool that asks
             WHEN e.waiting AND NOT v_row.waiting THEN 'wait'
             WHEN e.workflow_id <> p_workflow_id THEN 'duplicate'
             WHEN e.waiting THEN 'wait'
             WHEN NOT e.counted THEN 'early'
             ELSE 'run'
           END,
           e.id, e.reason, e.due_at, e.tries, e.generation, e.job_name, d.document, e.timeout_ms
      FROM job_executions e
      LEFT JOIN job_revisions d ON d.job_id = e.job_id AND d.generation = e.generation
     WHERE e.partition_at = p_partition_at AND e.id = p_id;
END $$;

-- As in 0006, with freezes: while one is in force nothing is claimed.
CREATE OR REPLACE FUNCTION claim_at_once(p_team text, p_partition_at timestamptz, p_id text, p_workflow_id text, p_run_id text, p_short_ms bigint) RETURNS job_executions
LANGUAGE plpgsql AS $$
DECLARE
  v_row  job_executions%ROWTYPE;
BEGIN
  IF (freeze_holding(p_team, left(p_id, 40), clock_timestamp())).id IS NOT NULL THEN RETURN NULL; END IF;
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

-- begin_slot as in 0006, of admit_due_slot.
CREATE FUNCTION begin_due_slot(
  p_team text, p_clock text, p_nominal timestamptz, p_timing_hash text, p_later timestamptz[], p_run_id text, p_buffer_limit integer, p_short_ms bigint
) RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timeout_ms bigint,
                 attempt integer, input json, has_input boolean, slot timestamptz, job_id text, max_attempts integer, service json,
                 timing_hash text, timing json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row    job_executions%ROWTYPE;
  v_admit  record;
BEGIN
  FOR v_admit IN SELECT * FROM admit_due_slot(p_team, p_clock, p_nominal, p_timing_hash, p_later, NULL, p_run_id, p_buffer_limit) LOOP
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

-- For processes of the release before.
CREATE OR REPLACE FUNCTION begin_slot(
  p_team text, p_clock text, p_nominal timestamptz, p_timing_hash text, p_successor timestamptz, p_run_id text, p_buffer_limit integer, p_short_ms bigint
) RETURNS TABLE (decision text, id text, reason text, due_at timestamptz, tries integer, generation bigint, job_name text, document json, timeout_ms bigint,
                 attempt integer, input json, has_input boolean, slot timestamptz, job_id text, max_attempts integer, service json,
                 timing_hash text, timing json)
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT * FROM begin_due_slot(p_team, p_clock, p_nominal, p_timing_hash, array_remove(ARRAY[p_successor], NULL), p_run_id, p_buffer_limit, p_short_ms);
END $$;

-- As in 0004, with freezes. verdict `frozen`: the row waits until the freeze is over, and whoever asked has nothing to do with it any more.
CREATE OR REPLACE FUNCTION claim_execution(p_team text, p_partition_at timestamptz, p_id text, p_run_id text, p_try integer)
RETURNS TABLE (verdict text, attempt integer, status text, error json, generation bigint, document json, input json, has_input boolean,
               timeout_ms bigint, slot timestamptz, due_at timestamptz, started_at timestamptz, job_id text, job_name text, max_attempts integer,
               trigger text, queue text, service json, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row       job_executions%ROWTYPE;
  v_freeze    text := (freeze_holding(p_team, left(p_id, 40), clock_timestamp())).id;
  v_released  json;
  v_verdict   text;
BEGIN
  UPDATE job_executions e
     SET status = 'running', attempt = e.attempt + 1, started_at = coalesce(e.started_at, clock_timestamp()),
         generation = CASE WHEN e.pinned OR e.status = 'running' THEN e.generation ELSE r.generation END
    FROM job_runtime r
   WHERE v_freeze IS NULL AND e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team AND r.job_id = e.job_id
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
    WHEN v_row.status = 'queued' AND EXISTS (
           SELECT 1 FROM job_runtime r WHERE r.job_id = v_row.job_id
              AND ((r.paused_at IS NOT NULL AND (v_row.trigger IN ('schedule', 'once') OR r.block_manual)) OR (NOT r.enabled AND v_row.trigger IN ('schedule', 'once')))) THEN 'paused'
    WHEN v_freeze IS NOT NULL THEN 'frozen'
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
  ELSIF v_verdict = 'frozen' THEN
    PERFORM hold_execution(p_team, p_partition_at, p_id, v_freeze);
    -- it may have been over since it was looked up
    v_released := release_next(p_team, v_row.job_id);
  END IF;
  RETURN QUERY SELECT v_verdict, v_row.attempt, v_row.status, v_row.error, v_row.generation, NULL::json, NULL::json, false, NULL::bigint, v_row.slot, v_row.due_at,
                      v_row.started_at, v_row.job_id, v_row.job_name, v_row.max_attempts, v_row.trigger, v_row.queue, NULL::json, v_released;
END $$;

-- As in 0009, with freezes: what one in force now keeps from being called is refused.
CREATE OR REPLACE FUNCTION begin_pool(
  p_team text, p_pool text, p_run_id text, p_chunk text, p_priority smallint, p_from text, p_to text, p_ids text[], p_after timestamptz
) RETURNS TABLE (decision text, id text, attempt integer, tries integer, due_at timestamptz, slot timestamptz, generation bigint, job_name text, input json, has_input boolean,
               timeout_ms bigint, max_attempts integer, trigger text, started_at timestamptz, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now     timestamptz;
  v_lost    job_executions[];
  v_rows    job_executions[];
  v_locked  text[];
  v_frozen  boolean;
BEGIN
  SELECT array_agg(l.job_id) INTO v_locked FROM (
    SELECT r.job_id FROM job_runtime r WHERE r.job_id IN (
      SELECT e.job_id FROM job_executions e
       WHERE e.workflow_id = p_pool AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.id >= p_from AND e.id <= p_to
         AND (p_after IS NULL OR e.due_at > p_after)
         -- who is not simply claimed: their jobs are locked before any row is, as everywhere
         AND (NOT e.counted OR e.cancel_requested_at IS NOT NULL
              OR (e.status = 'queued' AND EXISTS (SELECT 1 FROM job_runtime b WHERE b.job_id = e.job_id AND (b.paused_at IS NOT NULL OR NOT b.enabled)))))
    ORDER BY r.job_id FOR UPDATE) l;
  v_now := clock_timestamp();
  v_frozen := any_freeze(p_team, v_now);

  WITH due AS MATERIALIZED (
    SELECT e.partition_at, e.id, e.attempt, e.counted, CASE WHEN e.pinned OR e.status = 'running' THEN e.generation ELSE r.generation END AS generation
      FROM job_executions e CROSS JOIN LATERAL (SELECT r.* FROM job_runtime r WHERE r.job_id = e.job_id LIMIT 1) r
     WHERE e.workflow_id = p_pool AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.id >= p_from AND e.id <= p_to
       AND e.team = p_team AND e.priority = p_priority AND NOT e.waiting AND e.cancel_requested_at IS NULL AND e.due_at <= v_now
       AND (p_ids IS NULL OR (e.status = 'queued' AND e.id = ANY (p_ids)))
       AND (p_after IS NULL OR (e.status = 'queued' AND e.due_at > p_after))
       AND (e.status = 'running' OR NOT (
             (r.paused_at IS NOT NULL AND (e.trigger IN ('schedule', 'once') OR r.block_manual)) OR (NOT r.enabled AND e.trigger IN ('schedule', 'once'))))
       AND NOT (v_frozen AND (freeze_holding(p_team, e.job_id, v_now)).id IS NOT NULL)
       -- who joined since then is refused: the policy is asked under the job's lock
       AND (e.counted OR (e.job_id IN (SELECT unnest(v_locked)) AND (r.overlap = 'allow_all' OR r.active + r.waiting <= 0) AND v_now <= e.slot + late_after()))
  ), claimed AS (
    UPDATE job_executions e
       SET run_id = p_run_id, chunk = p_chunk, status = 'running', attempt = e.attempt + 1, started_at = coalesce(e.started_at, v_now), counted = true,
           generation = d.generation
      FROM due d
     WHERE e.partition_at = d.partition_at AND e.id = d.id AND e.workflow_id = p_pool AND e.status IN ('queued', 'running') AND e.attempt = d.attempt
       AND e.cancel_requested_at IS NULL
    RETURNING e, d.counted AS was_counted
  ), admitted AS (
    UPDATE job_runtime r SET active = r.active + 1, next_run_at = NULL FROM claimed c WHERE NOT c.was_counted AND r.job_id = (c.e).job_id
  )
  SELECT array_agg(c.e), array_agg(c.e) FILTER (WHERE (c.e).attempt > 1) INTO v_rows, v_lost FROM claimed c;
  IF v_lost IS NOT NULL THEN PERFORM note_lost(p_team, v_lost); END IF;
  RETURN QUERY
    SELECT 'run', e.id, e.attempt, e.tries, e.due_at, e.slot, e.generation, e.job_name, e.input, e.has_input, e.timeout_ms, e.max_attempts, e.trigger, e.started_at, NULL::json
      FROM unnest(v_rows) e;

  RETURN QUERY
    SELECT 'refused', e.id, NULL::integer, NULL::integer, NULL::timestamptz, NULL::timestamptz, NULL::bigint, NULL::text, NULL::json, NULL::boolean, NULL::bigint, NULL::integer,
           NULL::text, NULL::timestamptz, NULL::json
      FROM job_executions e
     WHERE e.workflow_id = p_pool AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.id >= p_from AND e.id <= p_to
       AND e.team = p_team AND e.priority = p_priority AND NOT e.waiting AND e.due_at <= v_now
       AND (e.status = 'queued' OR e.cancel_requested_at IS NOT NULL
            -- a call whose worker has died, while a freeze is in force
            OR (v_frozen AND p_ids IS NULL AND p_after IS NULL AND NOT EXISTS (SELECT 1 FROM unnest(v_rows) c WHERE c.id = e.id)
                AND (freeze_holding(p_team, e.job_id, v_now)).id IS NOT NULL))
       AND (p_ids IS NULL OR e.id = ANY (p_ids)) AND (p_after IS NULL OR e.due_at > p_after)
     ORDER BY e.id;
END $$;

-- As in 0009; what a freeze holds leaves its pool and waits (hold_execution).
CREATE OR REPLACE FUNCTION refuse_pool(p_team text, p_pool text, p_run_id text, p_chunk text, p_partitions timestamptz[], p_ids text[], p_buffer_limit integer)
RETURNS TABLE (decision text, id text, attempt integer, tries integer, due_at timestamptz, slot timestamptz, generation bigint, job_name text, input json, has_input boolean,
               timeout_ms bigint, max_attempts integer, trigger text, started_at timestamptz, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_row     record;
  v_admit   record;
  v_claim   record;
BEGIN
  PERFORM 1 FROM job_runtime r WHERE r.team = p_team AND r.job_id IN (SELECT left(p.id, 40) FROM unnest(p_ids) AS p (id)) ORDER BY r.job_id FOR UPDATE;
  FOR v_row IN
    SELECT e.partition_at, e.id, e.counted FROM unnest(p_partitions, p_ids) AS p (partition_at, id)
      JOIN job_executions e ON e.partition_at = p.partition_at AND e.id = p.id
     WHERE e.workflow_id = p_pool AND e.team = p_team AND e.status IN ('queued', 'running') AND NOT e.waiting
     ORDER BY e.id
  LOOP
    IF NOT v_row.counted THEN
      SELECT * INTO v_admit FROM admit_queued(p_team, v_row.partition_at, v_row.id, p_pool, p_run_id, p_buffer_limit);
      IF v_admit.decision IS DISTINCT FROM 'run' THEN
        IF v_admit.decision = 'wait' THEN
          UPDATE job_executions e SET dispatch = 'dedicated', workflow_id = e.id, run_id = NULL WHERE e.partition_at = v_row.partition_at AND e.id = v_row.id;
        END IF;
        CONTINUE;
      END IF;
    END IF;
    UPDATE job_executions e SET run_id = p_run_id, chunk = p_chunk
     WHERE e.partition_at = v_row.partition_at AND e.id = v_row.id AND e.workflow_id = p_pool AND (e.status = 'queued' OR e.cancel_requested_at IS NOT NULL OR (freeze_holding(p_team, e.job_id, clock_timestamp())).id IS NOT NULL);
    IF NOT FOUND THEN CONTINUE; END IF;
    SELECT c.*, e.tries AS tries_done INTO v_claim
      FROM job_executions e, LATERAL claim_execution(p_team, e.partition_at, e.id, p_run_id, e.tries + 1) c
     WHERE e.partition_at = v_row.partition_at AND e.id = v_row.id;
    RETURN QUERY
      SELECT CASE WHEN v_claim.verdict = 'run' THEN 'run' ELSE 'stopped' END, v_row.id, v_claim.attempt, v_claim.tries_done, v_claim.due_at, v_claim.slot,
             v_claim.generation, v_claim.job_name, v_claim.input, v_claim.has_input, v_claim.timeout_ms, v_claim.max_attempts, v_claim.trigger, v_claim.started_at, v_claim.released;
  END LOOP;
END $$;

-- begin_pool_slot as in 0009 for a slot that some of its members may not want, as in admit_due_slot.
CREATE FUNCTION begin_pool_members(
  p_team text, p_clock text, p_nominal timestamptz, p_later timestamptz[], p_pool text, p_run_id text, p_chunk text, p_priority smallint, p_from text, p_to text,
  p_planned_at timestamptz,
  p_buffer_limit integer
) RETURNS TABLE (decision text, id text, attempt integer, tries integer, due_at timestamptz, slot timestamptz, generation bigint, job_name text, input json, has_input boolean,
                 timeout_ms bigint, max_attempts integer, trigger text, started_at timestamptz, released json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now        timestamptz;
  v_late       boolean;
  v_text       text := slot_text(p_nominal);
  v_hash       text := substr(p_clock, 7);
  v_successor  timestamptz := p_later[1];
  v_calendars  boolean;
  v_jobs       text[];                              -- whose locks are held
  v_frozen     boolean;
  v_kind       text;
  v_next_kind  text;
  v_job        record;
BEGIN
  SELECT bool_or(l.calendars), array_agg(l.job_id) INTO v_calendars, v_jobs FROM (
    SELECT r.job_id, r.calendar_zone IS NOT NULL AS calendars FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
    WHERE m.clock_id = p_clock AND m.team = p_team AND m.job_id >= p_from AND m.job_id <= p_to AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
      AND (r.priority = p_priority OR job_has_changed(r.job_id, p_planned_at))
    ORDER BY r.job_id FOR UPDATE OF r) l;
  v_now := clock_timestamp();
  v_late := v_now > p_nominal + late_after();
  v_frozen := any_freeze(p_team, v_now);
  SELECT max(k.kind) FILTER (WHERE k.slot = p_nominal), max(k.kind) FILTER (WHERE k.slot = v_successor) INTO v_kind, v_next_kind
    FROM timing_marks k WHERE k.timing_hash = v_hash AND k.slot IN (p_nominal, v_successor);
  IF v_calendars OR any_freeze(p_team, p_nominal) THEN
    PERFORM swallow_slot_of(p_team, p_clock, p_nominal, v_hash, v_successor, v_next_kind, v_jobs);
  END IF;

  -- an earlier run of this slot may have admitted them
  RETURN QUERY SELECT * FROM begin_pool(p_team, p_pool, p_run_id, p_chunk, p_priority, p_from || '-' || v_text, p_to || '-' || v_text, NULL, NULL);

  FOR v_job IN
    SELECT r.job_id, r.overlap FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.job_id >= p_from AND m.job_id <= p_to AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
       AND m.job_id = ANY (v_jobs) AND r.overlap IN ('cancel_other', 'terminate_other') AND r.active + r.waiting > 0 AND r.paused_at IS NULL AND r.enabled AND NOT v_late
       AND dst_stop(v_kind, r.dst_gap, r.dst_repeat) IS NULL AND NOT (v_frozen AND (freeze_holding(p_team, r.job_id, v_now)).id IS NOT NULL)
       AND NOT EXISTS (
         SELECT 1 FROM slot_ranges s WHERE s.job_id = r.job_id AND s.from_at <= p_nominal AND (s.to_at IS NULL OR p_nominal < s.to_at))
       AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE e.partition_at = p_nominal AND e.id = r.job_id || '-' || v_text)
  LOOP
    PERFORM make_room(p_team, v_job.job_id, v_job.overlap, '');
  END LOOP;

  RETURN QUERY
  WITH verdicts AS (
    SELECT r.job_id, r.job_id || '-' || v_text AS id, r.job_name, r.generation, p_nominal + make_interval(secs => r.offset_s) AS due_at, r.max_attempts, r.queue,
           CASE
             WHEN v_kind IS NOT NULL AND dst_stop(v_kind, r.dst_gap, r.dst_repeat) IS NOT NULL THEN dst_stop(v_kind, r.dst_gap, r.dst_repeat)
             WHEN r.paused_at IS NOT NULL OR NOT r.enabled THEN 'paused'
             WHEN v_late AND (r.catch_up = 'none' OR p_nominal < v_now - make_interval(secs => r.catch_up_window_ms / 1000.0)
                              OR (r.catch_up = 'last' AND v_successor <= v_now AND v_successor < m.valid_to
                                  AND is_superseded(p_team, r.job_id, v_hash, m.valid_to, p_later, v_now))) THEN 'missed'
             WHEN v_frozen AND (freeze_holding(p_team, r.job_id, v_now)).id IS NOT NULL THEN 'frozen'
             ELSE overlap_verdict(r.overlap, r.active, r.waiting, p_buffer_limit)
           END AS verdict
      FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
     WHERE m.clock_id = p_clock AND m.team = p_team AND m.job_id >= p_from AND m.job_id <= p_to AND m.valid_from <= p_nominal AND p_nominal < m.valid_to
       AND (r.priority = p_priority OR job_has_changed(r.job_id, p_planned_at))
       -- of whoever has come since the locks were taken nobody has asked what its calendars say: it is in the range of its former priority, or found when it is late
       AND (r.calendar_zone IS NULL OR m.job_id = ANY (v_jobs))
       AND NOT EXISTS (
         SELECT 1 FROM slot_ranges s
          WHERE s.job_id = r.job_id AND s.from_at <= p_nominal AND (s.to_at IS NULL OR p_nominal < s.to_at))
       -- where all late slots are to run in slot order, the controller admits them, in one pass (as in admit_slot)
       AND NOT (v_late AND r.catch_up = 'all' AND r.overlap <> 'allow_all')
  ), inserted AS (
    INSERT INTO job_executions AS e (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, waiting, counted, reason, freeze_id,
                                     attempt, started_at, max_attempts, priority, queue, dispatch, workflow_id, run_id, chunk, created_at, finished_at)
    SELECT p_nominal, v.id, p_team, v.job_id, v.job_name, v.generation, 'schedule', p_nominal, v.due_at,
           CASE WHEN v.verdict = 'run' AND v.due_at <= v_now THEN 'running' WHEN v.verdict IN ('run', 'wait') THEN 'queued' ELSE 'skipped' END,
           v.verdict = 'wait', v.verdict IN ('run', 'wait'), CASE WHEN v.verdict NOT IN ('run', 'wait') THEN v.verdict END,
           CASE WHEN v.verdict = 'frozen' THEN (freeze_holding(p_team, v.job_id, v_now)).id END,
           (v.verdict = 'run' AND v.due_at <= v_now)::integer, CASE WHEN v.verdict = 'run' AND v.due_at <= v_now THEN v_now END,
           v.max_attempts, p_priority, v.queue, CASE WHEN v.verdict = 'wait' THEN 'dedicated' ELSE 'pooled' END,
           CASE WHEN v.verdict = 'wait' THEN v.id ELSE p_pool END, CASE WHEN v.verdict = 'run' THEN p_run_id END,
           CASE WHEN v.verdict = 'run' AND v.due_at <= v_now THEN p_chunk END, v_now, CASE WHEN v.verdict NOT IN ('run', 'wait') THEN v_now END
      FROM verdicts v
    ON CONFLICT DO NOTHING
    RETURNING e.job_id, e.id, e.waiting, e.counted, e.status, e.attempt, e.tries, e.due_at, e.generation, e.job_name, e.max_attempts
  ), counted AS (
    UPDATE job_runtime r
       SET active = r.active + (i.counted AND NOT i.waiting)::integer,
           waiting = r.waiting + (i.counted AND i.waiting)::integer,
           next_run_at = CASE WHEN r.next_run_at <= p_nominal THEN CASE WHEN v_successor < v.valid_to THEN v_successor END ELSE r.next_run_at END,
           next_run_unsure = CASE WHEN r.next_run_at <= p_nominal
                                  THEN (v_successor < v.valid_to AND (r.calendar_zone IS NOT NULL OR (v_next_kind IS NOT NULL AND dst_stop(v_next_kind, r.dst_gap, r.dst_repeat) IS NOT NULL))) IS TRUE
                                  ELSE r.next_run_unsure END
      FROM inserted i JOIN clock_members v ON v.clock_id = p_clock AND v.job_id = i.job_id AND v.valid_from <= p_nominal AND p_nominal < v.valid_to
     WHERE r.job_id = i.job_id
  )
  SELECT 'run', i.id, i.attempt, i.tries, i.due_at, p_nominal, i.generation, i.job_name, NULL::json, false, NULL::bigint, i.max_attempts, 'schedule', v_now, NULL::json
    FROM inserted i WHERE i.status = 'running';
END $$;

-- For processes of the release before, which know one later slot.
CREATE OR REPLACE FUNCTION begin_pool_slot(
  p_team text, p_clock text, p_nominal timestamptz, p_successor timestamptz, p_pool text, p_run_id text, p_chunk text, p_priority smallint, p_from text, p_to text,
  p_planned_at timestamptz,
  p_buffer_limit integer
) RETURNS TABLE (decision text, id text, attempt integer, tries integer, due_at timestamptz, slot timestamptz, generation bigint, job_name text, input json, has_input boolean,
                 timeout_ms bigint, max_attempts integer, trigger text, started_at timestamptz, released json)
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT * FROM begin_pool_members(p_team, p_clock, p_nominal, array_remove(ARRAY[p_successor], NULL), p_pool, p_run_id, p_chunk, p_priority, p_from, p_to,
                                                p_planned_at, p_buffer_limit);
END $$;

-- admit_triggers as in 0011, with freezes (verdict `frozen`, without a row) and with more that an item may say: prio, queue, label, op (the operation that asks).
--   kind backfill   runs in slot order behind what is due now, one at a time unless its job is allow_all; it is never skipped, and makes nobody go
-- `blocker` says what is in the way: { freezeId, reason, until } of a frozen job, { executionId } of one that is skipped or dropped.
CREATE FUNCTION admit_requests(p_team text, p_jobs text[], p_items json, p_open json, p_fresh text, p_buffer_limit integer, p_audit boolean)
RETURNS TABLE (items json, verdict text, ended text, pause jsonb, job_name text, generation bigint, due_at timestamptz, max_attempts integer, priority smallint,
               queue text, pool text, blocker json)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now      timestamptz;
  v_job      text;
  v_overlap  text;
  v_room     boolean := false;
  v_frozen   boolean;
BEGIN
  FOREACH v_job IN ARRAY p_jobs LOOP
    SELECT r.overlap INTO v_overlap FROM job_runtime r WHERE r.job_id = v_job AND r.team = p_team FOR UPDATE;
    v_room := v_room OR v_overlap IN ('cancel_other', 'terminate_other');
  END LOOP;
  v_now := clock_timestamp();
  v_frozen := any_freeze(p_team, v_now);

  IF v_room THEN
    FOREACH v_job IN ARRAY p_jobs LOOP
      SELECT r.overlap INTO v_overlap FROM job_runtime r
       WHERE r.job_id = v_job AND r.team = p_team AND r.overlap IN ('cancel_other', 'terminate_other') AND r.active + r.waiting > 0
         AND r.enabled AND NOT (r.paused_at IS NOT NULL AND r.block_manual)
         AND NOT (v_frozen AND (freeze_holding(p_team, v_job, v_now)).id IS NOT NULL)
         -- what is run again for a time long past makes nobody go
         AND EXISTS (SELECT 1 FROM json_to_recordset(p_items) AS i (job text, kind text) WHERE i.job = v_job AND i.kind <> 'backfill');
      IF FOUND THEN PERFORM make_room(p_team, v_job, v_overlap, ''); END IF;
    END LOOP;
  END IF;

  RETURN QUERY
  WITH runtime AS MATERIALIZED (
    -- by key, one by one: whatever the planner knew of the table when it made this plan
    SELECT r.*, (h.freeze).id AS freeze_id, (h.freeze).reason AS freeze_reason, coalesce((h.freeze).ended_at, (h.freeze).to_at) AS freeze_until
      FROM unnest(p_jobs) AS u (job) CROSS JOIN LATERAL (SELECT r.* FROM job_runtime r WHERE r.job_id = u.job LIMIT 1) r
     CROSS JOIN LATERAL (SELECT CASE WHEN v_frozen THEN freeze_holding(p_team, u.job, v_now) END AS freeze OFFSET 0) h
     WHERE r.team = p_team
  ), asked AS MATERIALIZED (
    SELECT i.*, row_number() OVER (PARTITION BY i.job ORDER BY i.nth)::integer AS place, count(*) OVER (PARTITION BY i.job) AS asked_of_job
      FROM ROWS FROM (json_to_recordset(p_items) AS (
             job text, id text, at timestamptz, kind text, slot timestamptz, input json, has boolean, by text, "retryOf" text, gen bigint, timeout bigint, request text,
             prio smallint, queue text, label text, op text))
           WITH ORDINALITY AS i (job, id, at, kind, slot, input, has, by, retry_of, gen, timeout, request, prio, queue, label, op, nth)
  ), judged AS MATERIALIZED (
    SELECT a.nth, a.job, a.id, a.at, a.kind, a.slot, a.input, a.has, a.by, a.retry_of, a.gen, a.timeout, a.request, a.label, a.op, a.place, a.asked_of_job,
           r.job_name, coalesce(a.gen, r.generation) AS generation, r.generation AS current, r.max_attempts, coalesce(a.prio, r.priority) AS priority,
           coalesce(a.queue, r.queue) AS queue, r.dispatch_wish, r.overlap, r.freeze_id, r.freeze_reason, r.freeze_until,
           r.poolable AND r.dispatch_wish <> 'dedicated' AND a.gen IS NULL AND coalesce(a.timeout, 0) <= 10000 AS may_share,
           CASE
             WHEN r.job_id IS NULL THEN 'not_found'
             WHEN NOT r.enabled THEN 'disabled'
             WHEN r.paused_at IS NOT NULL AND r.block_manual THEN 'paused'
             WHEN r.freeze_id IS NOT NULL THEN 'frozen'
             -- one after another, and none is left out, however many there are: whoever asks for them keeps the measure
             WHEN a.kind = 'backfill' THEN CASE WHEN r.overlap = 'allow_all' OR a.place <= first.runs THEN 'run' ELSE 'wait' END
             -- whoever came before in this statement has made room already
             WHEN r.overlap IN ('cancel_other', 'terminate_other') THEN overlap_verdict(r.overlap, r.active, r.waiting, p_buffer_limit)
             -- the counters as those before have left them: the first ones run while nothing else does, the others ask to wait behind them
             ELSE overlap_verdict(r.overlap, r.active + least(a.place - 1, first.runs), r.waiting + greatest(a.place - 1 - first.runs, 0), p_buffer_limit)
           END AS verdict,
           CASE WHEN a.place < a.asked_of_job AND a.kind <> 'backfill' THEN CASE r.overlap WHEN 'cancel_other' THEN 'cancelled' WHEN 'terminate_other' THEN 'terminated' END END AS made_room
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
                                max_attempts, priority, queue, dispatch, workflow_id, retry_of, requested_by, input, has_input, timeout_ms, label, operation_id, created_at,
                                finished_at)
    SELECT p.at, p.id, p_team, p.job, p.job_name, p.generation, p.gen IS NOT NULL, p.kind, p.slot, v_now,
           CASE WHEN p.ended IS NOT NULL THEN p.ended WHEN p.accepted THEN 'queued' ELSE 'skipped' END,
           p.verdict = 'wait' AND p.ended IS NULL, p.accepted AND p.ended IS NULL,
           CASE WHEN p.ended IS NOT NULL THEN p.overlap WHEN NOT p.accepted THEN p.verdict END,
           p.max_attempts, p.priority, p.queue, CASE WHEN p.pool IS NULL THEN 'dedicated' ELSE 'pooled' END, coalesce(p.pool, p.id),
           p.retry_of, p.by, CASE WHEN p.has THEN coalesce(p.input, 'null') END, p.has, p.timeout, p.label, p.op, v_now,
           CASE WHEN p.ended IS NOT NULL OR NOT p.accepted THEN v_now END
      FROM placed p WHERE p.verdict NOT IN ('not_found', 'disabled', 'paused', 'frozen')
  ), counted AS (
    UPDATE job_runtime r SET active = r.active + n.running, waiting = r.waiting + n.waiting
      FROM (SELECT p.job, count(*) FILTER (WHERE p.verdict = 'run')::integer AS running, count(*) FILTER (WHERE p.verdict = 'wait')::integer AS waiting
              FROM placed p WHERE p.accepted AND p.ended IS NULL GROUP BY p.job) n
     WHERE r.job_id = n.job
  ), audited AS (
    INSERT INTO audit_events (team, at, actor, action, subject_kind, subject_id, after, request_id)
    SELECT p_team, v_now, p.by, CASE p.kind WHEN 'retry' THEN 'execution.retried' ELSE 'job.triggered' END, 'job', p.job,
           json_build_object('execution', p.id, 'verdict', p.verdict, 'retryOf', p.retry_of, 'operation', p.op), p.request
      FROM placed p WHERE p_audit AND p.verdict NOT IN ('not_found', 'disabled', 'paused', 'frozen')
     ORDER BY p.nth
  )
  SELECT json_agg(p.nth - 1 ORDER BY p.nth), p.verdict, p.ended,
         CASE WHEN p.verdict = 'paused' THEN (SELECT j.pause FROM jobs j WHERE j.id = p.job AND j.team = p_team) END,
         p.job_name, p.current, v_now, p.max_attempts, p.priority, p.queue, p.pool,
         CASE
           WHEN p.verdict = 'frozen' THEN json_build_object('freezeId', p.freeze_id, 'reason', p.freeze_reason, 'until', iso_time(p.freeze_until))
           -- what keeps it from running, waiting or not: of this statement if nothing did before
           WHEN p.verdict IN ('skipped_overlap', 'buffer_dropped') THEN json_build_object('executionId', coalesce(
             (SELECT e.id FROM job_executions e WHERE e.job_id = p.job AND e.finished_at IS NULL AND e.counted AND e.created_at < v_now ORDER BY e.waiting, e.created_at LIMIT 1),
             (SELECT o.id FROM placed o WHERE o.job = p.job AND o.verdict = 'run' AND o.ended IS NULL LIMIT 1)))
         END
    FROM placed p
   GROUP BY p.job, p.verdict, p.ended, p.job_name, p.current, p.max_attempts, p.priority, p.queue, p.pool, p.freeze_id, p.freeze_reason, p.freeze_until;
END $$;

-- For processes of the release before, which know a pause.
CREATE OR REPLACE FUNCTION admit_triggers(p_team text, p_jobs text[], p_items json, p_open json, p_fresh text, p_buffer_limit integer, p_audit boolean)
RETURNS TABLE (items json, verdict text, ended text, pause jsonb, job_name text, generation bigint, due_at timestamptz, max_attempts integer, priority smallint,
               queue text, pool text)
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
    SELECT a.items, CASE a.verdict WHEN 'frozen' THEN 'paused' ELSE a.verdict END, a.ended,
           CASE a.verdict WHEN 'frozen' THEN jsonb_build_object('reason', 'frozen: ' || (a.blocker ->> 'reason')) ELSE a.pause END,
           a.job_name, a.generation, a.due_at, a.max_attempts, a.priority, a.queue, a.pool
      FROM admit_requests(p_team, p_jobs, p_items, p_open, p_fresh, p_buffer_limit, p_audit) a;
END $$;

-- As in 0007, for processes of the release before.
CREATE OR REPLACE FUNCTION admit_trigger(
  p_team text, p_job text, p_id text, p_partition_at timestamptz, p_trigger text, p_slot timestamptz, p_input json, p_has_input boolean,
  p_requested_by text, p_retry_of text, p_pinned_generation bigint, p_timeout_ms bigint, p_buffer_limit integer, p_request_id text
) RETURNS TABLE (verdict text, pause jsonb, job_name text, generation bigint, due_at timestamptz, max_attempts integer, priority smallint, queue text, dispatch text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_runtime  job_runtime%ROWTYPE;
  v_now      timestamptz;
  v_verdict  text;
  v_freeze   freezes%ROWTYPE;
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
  v_freeze := freeze_holding(p_team, p_job, v_now);
  IF v_freeze.id IS NOT NULL THEN
    verdict := 'paused';
    pause := jsonb_build_object('reason', 'frozen: ' || v_freeze.reason);
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

-- As in 0004, and tells it.
CREATE OR REPLACE FUNCTION pause_after_failures(p_team text, p_job text, p_failures integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_now     timestamptz := clock_timestamp();
  v_reason  text := format('%s executions in a row failed', p_failures);
  v_pause   jsonb := jsonb_build_object('reason', v_reason, 'by', 'almanac', 'at', iso_time(v_now),
                                        'blockManual', false, 'automatic', true);
BEGIN
  UPDATE job_runtime r SET paused_at = v_now, block_manual = false, next_run_at = NULL WHERE r.job_id = p_job;
  UPDATE jobs j SET state = CASE WHEN j.state IN ('active', 'on_demand') THEN 'paused' ELSE j.state END, pause = v_pause, updated_at = v_now
   WHERE j.id = p_job AND j.team = p_team;
  -- the stretch of a pause that was just ended reaches up to its end, a little ahead
  INSERT INTO slot_ranges (team, job_id, reason, from_at, by, note)
  VALUES (p_team, p_job, 'paused',
          greatest(v_now, (SELECT g.to_at FROM slot_ranges g WHERE g.job_id = p_job AND g.reason = 'paused' AND g.from_at <= v_now ORDER BY g.from_at DESC LIMIT 1)),
          'almanac', v_reason);
  UPDATE clocks c SET paused = true, generation = c.generation + 1, reconcile_at = v_now WHERE c.id = p_job AND c.kind = 'dedicated' AND c.deleted_at IS NULL AND NOT c.paused;
  INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after) VALUES (p_team, 'almanac', 'job.paused', 'job', p_job, v_pause::json);
  PERFORM raise_event(p_team, p_job, 'paused', NULL, NULL, v_pause::json);
END $$;

-- failed, or failed_to_start when there was nothing to call: it was never claimed, its handler is unknown, or the call was given up because it kills its process.
CREATE FUNCTION failure_kind(p_error json, p_attempt integer) RETURNS text IMMUTABLE LANGUAGE sql
  RETURN CASE WHEN p_attempt = 0 OR p_error ->> 'type' IN ('unknown_handler', 'invalid_input', 'poisoned') THEN 'failed_to_start' ELSE 'failed' END;
CREATE FUNCTION failure_details(p_status text, p_reason text, p_error json, p_attempt integer, p_failures integer) RETURNS json STABLE LANGUAGE sql
  RETURN json_build_object('status', p_status, 'reason', p_reason, 'error', p_error, 'attempt', p_attempt, 'failures', p_failures);
CREATE FUNCTION recovery_details(p_failures integer, p_alarm text, p_since timestamptz) RETURNS json STABLE LANGUAGE sql
  RETURN json_build_object('failures', p_failures, 'alarm', p_alarm, 'since', iso_time(p_since));

-- As in 0007, and tells what people may want to hear of: the end of an execution that failed, the first success after failures or an alarm, each success where somebody asks.
CREATE OR REPLACE FUNCTION settle(p_team text, p_partition_at timestamptz, p_id text, p_status text, p_reason text, p_result json, p_error json, p_tries integer DEFAULT 0)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  v_now      timestamptz := clock_timestamp();
  v_row      job_executions%ROWTYPE;
  v_runtime  job_runtime%ROWTYPE;
  v_before   record;
BEGIN
  SELECT e.* INTO v_row FROM job_executions e WHERE e.partition_at = p_partition_at AND e.id = p_id AND e.team = p_team;
  UPDATE job_executions e
     -- one that waited for the end of a freeze has not ended because of it
     SET status = p_status, reason = coalesce(p_reason, nullif(e.reason, CASE WHEN e.waiting THEN 'frozen' END)), waiting = false, counted = false, tries = e.tries + p_tries, finished_at = v_now,
         result = coalesce(p_result, e.result), error = CASE WHEN p_status = 'succeeded' THEN NULL ELSE coalesce(p_error, e.error) END
   WHERE e.partition_at = p_partition_at AND e.id = p_id;
  SELECT r.consecutive_failures, r.alarm, r.alarm_at INTO v_before FROM job_runtime r WHERE r.job_id = v_row.job_id AND r.team = p_team;
  UPDATE job_runtime r
     SET active = r.active - (v_row.counted AND NOT v_row.waiting)::integer,
         waiting = r.waiting - (v_row.counted AND v_row.waiting)::integer,
         consecutive_failures = CASE p_status WHEN 'succeeded' THEN 0 WHEN 'failed' THEN r.consecutive_failures + 1 WHEN 'timed_out' THEN r.consecutive_failures + 1
                                              ELSE r.consecutive_failures END,
         last_outcome = CASE WHEN p_status = 'skipped' THEN r.last_outcome ELSE p_status END,
         last_execution = CASE WHEN p_status = 'skipped' THEN r.last_execution ELSE json_build_object(
           'id', p_id, 'status', p_status, 'slot', iso_time(v_row.slot), 'startedAt', iso_time(v_row.started_at), 'finishedAt', iso_time(v_now),
           'durationMs', round(extract(epoch FROM v_now - v_row.started_at) * 1000)) END,
         last_success_at = CASE p_status WHEN 'succeeded' THEN v_now ELSE r.last_success_at END,
         alarm = CASE p_status WHEN 'succeeded' THEN NULL ELSE r.alarm END, alarm_at = CASE p_status WHEN 'succeeded' THEN NULL ELSE r.alarm_at END,
         next_run_at = CASE WHEN v_row.trigger = 'once' THEN NULL ELSE r.next_run_at END
   WHERE r.job_id = v_row.job_id AND r.team = p_team
  RETURNING r.* INTO v_runtime;
  IF p_status IN ('failed', 'timed_out') THEN
    PERFORM raise_event(p_team, v_row.job_id, failure_kind(p_error, v_row.attempt), p_id, v_row.slot,
                        failure_details(p_status, p_reason, p_error, v_row.attempt, v_runtime.consecutive_failures));
  ELSIF p_status = 'succeeded' THEN
    IF v_before.consecutive_failures > 0 OR v_before.alarm IS NOT NULL THEN
      PERFORM raise_event(p_team, v_row.job_id, 'recovered', p_id, v_row.slot, recovery_details(v_before.consecutive_failures, v_before.alarm, v_before.alarm_at));
    END IF;
    IF v_runtime.notify_succeeded THEN
      PERFORM raise_event(p_team, v_row.job_id, 'succeeded', p_id, v_row.slot, json_build_object('startedAt', iso_time(v_row.started_at), 'finishedAt', iso_time(v_now)));
    END IF;
  END IF;
  IF v_row.trigger = 'once' THEN
    UPDATE jobs j SET state = 'finished', updated_at = v_now WHERE j.id = v_row.job_id AND j.state IN ('active', 'paused');
  ELSIF v_runtime.paused_at IS NULL AND v_runtime.enabled AND v_runtime.consecutive_failures >= v_runtime.pause_after_failures AND p_status IN ('failed', 'timed_out') THEN
    PERFORM pause_after_failures(p_team, v_row.job_id, v_runtime.consecutive_failures);
  END IF;
  IF v_runtime.waiting > 0 AND v_runtime.active <= 0 THEN RETURN release_next(p_team, v_row.job_id); END IF;
  RETURN NULL;
END $$;

-- As in 0012, and tells what people may want to hear of, as settle does.
CREATE OR REPLACE FUNCTION record_pool(p_outcomes json)
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
  ), judged AS MATERIALIZED (
    -- how its job stood before; by key, whatever the planner knew of the table when it made this plan
    SELECT e.*, b.failures_before, b.alarm, b.alarm_at, b.notify_succeeded
      FROM ended e CROSS JOIN LATERAL (
             SELECT r.consecutive_failures AS failures_before, r.alarm, r.alarm_at, r.notify_succeeded FROM job_runtime r WHERE r.job_id = e.job_id LIMIT 1) b
  ), per_job AS (
    -- the last outcome of each job, and how many failures in a row it ends with
    SELECT DISTINCT ON (f.job_id) f.*, count(*) FILTER (WHERE f.n > f.last_success AND f.status IN ('failed', 'timed_out')) OVER (PARTITION BY f.job_id) AS failures
      FROM (SELECT e.*, count(*) OVER (PARTITION BY e.job_id)::integer AS ended, bool_or(e.trigger = 'once') OVER (PARTITION BY e.job_id) AS once,
                   coalesce(max(e.n) FILTER (WHERE e.status = 'succeeded') OVER (PARTITION BY e.job_id), 0) AS last_success
              FROM judged e) f
     ORDER BY f.job_id, f.n DESC
  ), runtime AS (
    UPDATE job_runtime r
       SET active = r.active - j.ended,
           consecutive_failures = CASE WHEN j.last_success = 0 THEN r.consecutive_failures ELSE 0 END + j.failures,
           last_outcome = j.status,
           last_execution = json_build_object('id', j.id, 'status', j.status, 'slot', iso_time(j.slot), 'startedAt', iso_time(j.started_at), 'finishedAt', iso_time(v_now),
                                              'durationMs', round(extract(epoch FROM v_now - j.started_at) * 1000)),
           last_success_at = CASE WHEN j.last_success > 0 THEN v_now ELSE r.last_success_at END,
           alarm = CASE WHEN j.last_success > 0 THEN NULL ELSE r.alarm END, alarm_at = CASE WHEN j.last_success > 0 THEN NULL ELSE r.alarm_at END,
           next_run_at = CASE WHEN j.once THEN NULL ELSE r.next_run_at END
      FROM per_job j
     WHERE r.job_id = j.job_id
  ), told AS (
    INSERT INTO job_events (team, job_id, kind, execution_id, slot, details)
    SELECT t.team, t.job_id, t.kind, t.id, t.slot, t.details
      FROM (SELECT e.team, e.job_id, failure_kind(e.error, e.attempt) AS kind, e.id, e.slot, failure_details(e.status, e.reason, e.error, e.attempt, NULL) AS details, e.n
              FROM judged e WHERE e.status IN ('failed', 'timed_out')
            UNION ALL
            SELECT e.team, e.job_id, 'succeeded', e.id, e.slot, json_build_object('startedAt', iso_time(e.started_at), 'finishedAt', iso_time(v_now)), e.n
              FROM judged e WHERE e.notify_succeeded AND e.status = 'succeeded'
            UNION ALL
            SELECT j.team, j.job_id, 'recovered', j.id, j.slot, recovery_details(j.failures_before, j.alarm, j.alarm_at), j.last_success
              FROM per_job j WHERE j.last_success > 0 AND (j.failures_before > 0 OR j.alarm IS NOT NULL)) t
     ORDER BY t.n
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

-- Plans as in 0005 and 0009: kept, and always look-ups by key.
DO $$
DECLARE
  v_function regprocedure;
BEGIN
  FOR v_function IN
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace = current_schema()::regnamespace
       AND p.proname IN ('admit_due_slot', 'admit_slot', 'admit_queued', 'claim_at_once', 'begin_due_slot', 'begin_slot', 'claim_execution', 'admit_requests', 'admit_triggers',
                         'admit_trigger')
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', v_function);
  END LOOP;
  FOR v_function IN
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace = current_schema()::regnamespace
       AND p.proname IN ('begin_pool', 'refuse_pool', 'begin_pool_members', 'begin_pool_slot', 'record_pool', 'swallow_slot', 'swallow_slot_of')
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off', v_function);
  END LOOP;
END $$;
ALTER FUNCTION record_pool SET lock_timeout = '1s';
