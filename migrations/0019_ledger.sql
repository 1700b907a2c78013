-- Who watches that slots become executions: alarms of jobs, a heartbeat of the watchdog, the health of intervals (semantics.md 1, 9).

-- What 0015 has made already stays as it is.
ALTER TABLE job_runtime
  -- what the watchdog has told of this job and no success has taken back: late < missed < expect; null: nothing. Whoever records the next success clears it
  ADD COLUMN IF NOT EXISTS alarm text,
  ADD COLUMN IF NOT EXISTS alarm_at timestamptz,
  -- missed slots up to this one have been told
  ADD COLUMN IF NOT EXISTS missed_told timestamptz,
  -- `expect` counts from here when there was no success since: creation, or the moment it was switched on, resumed, or given another `expect`
  ADD COLUMN IF NOT EXISTS expect_since timestamptz NOT NULL DEFAULT now();
CREATE INDEX job_runtime_alarmed ON job_runtime (job_id) WHERE alarm IS NOT NULL;
CREATE INDEX job_runtime_expecting ON job_runtime (job_id) WHERE expect_ms IS NOT NULL;

-- A trigger, because many statements switch jobs on and off; it costs nothing where none of these columns is written.
CREATE FUNCTION expect_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.expect_since := clock_timestamp();
  RETURN NEW;
END $$;
CREATE TRIGGER job_runtime_expect_anew BEFORE UPDATE OF enabled, paused_at, expect_ms ON job_runtime FOR EACH ROW
  WHEN ((NEW.enabled AND NOT OLD.enabled) OR (NEW.paused_at IS NULL AND OLD.paused_at IS NOT NULL) OR NEW.expect_ms IS DISTINCT FROM OLD.expect_ms)
  EXECUTE FUNCTION expect_anew();

-- Which process looked last, and what it saw. One that is silent has died.
CREATE TABLE watchdog_heartbeats (
  process  text PRIMARY KEY,                    -- host:pid of a controller
  at       timestamptz NOT NULL,
  looked   integer NOT NULL,                    -- jobs that are watched
  overdue  integer NOT NULL                     -- jobs with an alarm
);
-- How far something that reads rows in the order of their time has come, whichever process reads on.
CREATE TABLE ledger_positions (
  name  text PRIMARY KEY,
  at    timestamptz NOT NULL
);

-- What did not run, by when it was decided (the watchdog) and by when it was due (lists). Exceptions only: what runs is in neither.
CREATE INDEX job_executions_missed ON job_executions (finished_at) WHERE status = 'skipped' AND reason = 'missed';
CREATE INDEX job_executions_skipped ON job_executions (team, partition_at DESC, id DESC) WHERE status = 'skipped';
-- Later executions of a slot.
CREATE INDEX job_executions_again ON job_executions (job_id, slot) WHERE slot IS NOT NULL AND trigger IN ('backfill', 'retry');
CREATE INDEX slot_ranges_by_begin ON slot_ranges (team, from_at DESC, job_id DESC);
CREATE INDEX slot_ranges_by_end ON slot_ranges (team, to_at);

-- Tells an alarm once per episode: nothing happens while one as bad or worse is open. True: it was told. The caller needs no lock.
CREATE FUNCTION raise_alarm(p_team text, p_job text, p_alarm text, p_execution text, p_slot timestamptz, p_details json) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE job_runtime r SET alarm = p_alarm, alarm_at = clock_timestamp()
   WHERE r.job_id = p_job AND r.team = p_team
     AND (r.alarm IS NULL OR array_position(ARRAY['late', 'missed', 'expect'], r.alarm) < array_position(ARRAY['late', 'missed', 'expect'], p_alarm));
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM raise_event(p_team, p_job, CASE p_alarm WHEN 'late' THEN 'late' ELSE 'missed' END, p_execution, p_slot, p_details);
  RETURN true;
END $$;

-- Takes an alarm back when a success came after it, and says so.
CREATE FUNCTION clear_alarm(p_team text, p_job text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_was  record;
BEGIN
  SELECT r.alarm, r.alarm_at INTO v_was FROM job_runtime r
   WHERE r.job_id = p_job AND r.team = p_team AND r.alarm IS NOT NULL AND r.last_success_at >= r.alarm_at FOR UPDATE;
  IF NOT FOUND THEN RETURN false; END IF;
  UPDATE job_runtime r SET alarm = NULL, alarm_at = NULL WHERE r.job_id = p_job AND r.team = p_team;
  PERFORM raise_event(p_team, p_job, 'recovered', NULL, NULL, json_build_object('alarm', v_was.alarm, 'since', iso_time(v_was.alarm_at)));
  RETURN true;
END $$;

-- Tells missed slots of one job: p_count of them from p_first to p_last, the newest decided at p_decided. Told before: nothing. A job that has succeeded since has recovered at once.
CREATE FUNCTION tell_missed(p_team text, p_job text, p_first timestamptz, p_last timestamptz, p_count integer, p_decided timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_told     boolean;
  v_success  timestamptz;
BEGIN
  UPDATE job_runtime r SET missed_told = p_last WHERE r.job_id = p_job AND r.team = p_team AND (r.missed_told IS NULL OR r.missed_told < p_last)
  RETURNING r.last_success_at INTO v_success;
  IF NOT FOUND THEN RETURN false; END IF;
  v_told := raise_alarm(p_team, p_job, 'missed', NULL, p_first,
                        json_build_object('kind', 'slot', 'first', iso_time(p_first), 'last', iso_time(p_last), 'count', p_count));
  IF v_told AND v_success > p_decided THEN
    UPDATE job_runtime r SET alarm_at = v_success WHERE r.job_id = p_job AND r.team = p_team;
    PERFORM clear_alarm(p_team, p_job);
  END IF;
  RETURN v_told;
END $$;

-- Writes rows of missed slots of one job with a clock of its own, as admit_due_slot would one by one: p_slots lie in one membership, nothing but the catch-up policy speaks
-- against them, and p_successor is the slot behind the last (null: there is none). Answers how many were written; null: the job is not any more what they were judged by.
CREATE FUNCTION note_missed(
  p_team text, p_job text, p_clock text, p_timing_hash text, p_slots timestamptz[], p_successor timestamptz, p_catch_up text, p_window_ms bigint
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_runtime  job_runtime%ROWTYPE;
  v_now      timestamptz;
  v_last     timestamptz := p_slots[cardinality(p_slots)];
  v_written  integer;
BEGIN
  SELECT r.* INTO v_runtime FROM job_runtime r
   WHERE r.job_id = p_job AND r.team = p_team AND r.catch_up = p_catch_up AND r.catch_up_window_ms = p_window_ms
     AND r.enabled AND r.paused_at IS NULL AND r.calendar_zone IS NULL FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  v_now := clock_timestamp();
  PERFORM 1 FROM clock_members m
    WHERE m.clock_id = p_clock AND m.job_id = p_job AND m.team = p_team AND m.timing_hash = p_timing_hash AND m.valid_from <= p_slots[1] AND v_last < m.valid_to;
  IF NOT FOUND THEN RETURN NULL; END IF;
  INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, reason, max_attempts, priority, queue, dispatch,
                              workflow_id, created_at, finished_at)
  SELECT s.slot, p_job || '-' || slot_text(s.slot), p_team, p_job, v_runtime.job_name, v_runtime.generation, 'schedule', s.slot,
         s.slot + make_interval(secs => v_runtime.offset_s), 'skipped', 'missed', v_runtime.max_attempts, v_runtime.priority, v_runtime.queue, 'dedicated',
         p_job || '-' || slot_text(s.slot), v_now, v_now
    FROM unnest(p_slots) AS s (slot)
   WHERE NOT EXISTS (SELECT 1 FROM slot_ranges g WHERE g.job_id = p_job AND g.from_at <= s.slot AND (g.to_at IS NULL OR s.slot < g.to_at))
  ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS v_written = ROW_COUNT;
  UPDATE job_runtime r SET next_run_at = p_successor, next_run_unsure = p_successor IS NOT NULL WHERE r.job_id = p_job AND r.next_run_at <= v_last;
  RETURN v_written;
END $$;

-- The same for slots that a calendar, a freeze or a change of clocks may have stopped: each is asked about, as admit_due_slot does, and all are missed that nothing has stopped,
-- whatever comes after them (catch-up none, or older than the window). Stretches grow by one statement each, not by one per slot.
CREATE FUNCTION note_judged(
  p_team text, p_job text, p_clock text, p_timing_hash text, p_slots timestamptz[], p_successor timestamptz, p_catch_up text, p_window_ms bigint
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_runtime  job_runtime%ROWTYPE;
  v_now      timestamptz;
  v_last     timestamptz := p_slots[cardinality(p_slots)];
  v_slot     timestamptz;
  v_stop     slot_stop;
  v_open     slot_stop;                          -- of the range that grows
  v_from     timestamptz;
  v_more     integer := 0;                       -- slots that it has grown by
  v_to       timestamptz;
  v_single   timestamptz[] := '{}';
  v_reasons  text[] := '{}';
BEGIN
  SELECT r.* INTO v_runtime FROM job_runtime r
   WHERE r.job_id = p_job AND r.team = p_team AND r.catch_up = p_catch_up AND r.catch_up_window_ms = p_window_ms AND r.enabled AND r.paused_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  v_now := clock_timestamp();
  PERFORM 1 FROM clock_members m
    WHERE m.clock_id = p_clock AND m.job_id = p_job AND m.team = p_team AND m.timing_hash = p_timing_hash AND m.valid_from <= p_slots[1] AND v_last < m.valid_to;
  IF NOT FOUND THEN RETURN NULL; END IF;
  FOR v_nth IN 1 .. cardinality(p_slots) LOOP
    v_slot := p_slots[v_nth];
    v_stop := slot_stop_of(p_team, p_job, p_timing_hash, v_slot);
    IF v_stop.reason IN ('excluded', 'frozen') AND v_stop.reason = v_open.reason AND v_stop.freeze_id IS NOT DISTINCT FROM v_open.freeze_id
       AND v_stop.calendar IS NOT DISTINCT FROM v_open.calendar AND v_stop.from_at <= v_from THEN
      v_more := v_more + 1;
      v_to := v_slot + interval '1 second';
      CONTINUE;
    END IF;
    IF v_more > 0 THEN
      UPDATE slot_ranges g SET to_at = v_to, count = g.count + v_more WHERE g.job_id = p_job AND g.from_at = v_from AND g.reason = v_open.reason AND g.to_at < v_to;
    END IF;
    v_open := NULL;
    v_more := 0;
    IF v_stop.reason IN ('excluded', 'frozen') THEN
      PERFORM swallow_slot(p_team, p_clock, v_slot, p_timing_hash, coalesce(p_slots[v_nth + 1], p_successor), NULL, p_job, p_job);
      SELECT g.from_at INTO v_from FROM slot_ranges g
       WHERE g.job_id = p_job AND g.from_at <= v_slot AND v_slot < g.to_at AND g.reason = v_stop.reason ORDER BY g.from_at DESC LIMIT 1;
      IF FOUND THEN v_open := v_stop; END IF;
    ELSE
      v_single := v_single || v_slot;
      v_reasons := v_reasons || coalesce(v_stop.reason, 'missed');
    END IF;
  END LOOP;
  IF v_more > 0 THEN
    UPDATE slot_ranges g SET to_at = v_to, count = g.count + v_more WHERE g.job_id = p_job AND g.from_at = v_from AND g.reason = v_open.reason AND g.to_at < v_to;
  END IF;
  INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, reason, max_attempts, priority, queue, dispatch,
                              workflow_id, created_at, finished_at)
  SELECT s.slot, p_job || '-' || slot_text(s.slot), p_team, p_job, v_runtime.job_name, v_runtime.generation, 'schedule', s.slot,
         s.slot + make_interval(secs => v_runtime.offset_s), 'skipped', s.reason, v_runtime.max_attempts, v_runtime.priority, v_runtime.queue, 'dedicated',
         p_job || '-' || slot_text(s.slot), v_now, v_now
    FROM unnest(v_single, v_reasons) AS s (slot, reason)
   WHERE NOT EXISTS (SELECT 1 FROM slot_ranges g WHERE g.job_id = p_job AND g.from_at <= s.slot AND (g.to_at IS NULL OR s.slot < g.to_at))
  ON CONFLICT DO NOTHING;
  UPDATE job_runtime r SET next_run_at = p_successor, next_run_unsure = p_successor IS NOT NULL WHERE r.job_id = p_job AND r.next_run_at <= v_last;
  RETURN cardinality(p_slots);
END $$;

-- How long executions of a job take against the distance of its slots; rolled up by the controller from the newest ones.
CREATE TABLE job_health (
  job_id          text PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  team            text NOT NULL,
  at              timestamptz NOT NULL,
  executions      integer NOT NULL,             -- that were looked at
  interval_ms     bigint NOT NULL,              -- shortest distance of slots ahead
  p50_ms          bigint NOT NULL,
  p95_ms          bigint NOT NULL,
  wait_p50_ms     bigint NOT NULL,              -- start - due
  wait_p95_ms     bigint NOT NULL,
  share           double precision NOT NULL,    -- p95_ms / interval_ms
  slots_per_day   double precision NOT NULL,
  skips_per_day   double precision NOT NULL,    -- projected, as overlap says
  told_at         timestamptz                   -- `interval_health` was raised, and the share has not fallen since
);
CREATE INDEX job_health_worst ON job_health (team, share DESC, job_id DESC);
