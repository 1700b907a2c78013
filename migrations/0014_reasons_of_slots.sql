-- What decides whether an expected slot starts, and what is told about it (semantics.md 1, 13, 24): days on which clocks change, shared calendars, freezes, events.

ALTER TABLE job_runtime
  -- a wall time that does not exist: left out, or run when the clocks have jumped
  ADD COLUMN dst_gap text NOT NULL DEFAULT 'shift' CHECK (dst_gap IN ('skip', 'shift')),
  -- a wall time that comes twice; null: the first for times of day, both for what fires every hour
  ADD COLUMN dst_repeat text CHECK (dst_repeat IN ('first', 'last', 'both')),
  -- names of shared calendars; null: none. Slots run only inside one of the included, never inside an excluded one
  ADD COLUMN include_calendars text[],
  ADD COLUMN exclude_calendars text[],
  ADD COLUMN calendar_zone text,                -- the schedule's zone, in which those calendars' days are read; null without calendars
  ADD COLUMN expect_ms bigint,                  -- a success at least this often, else the watchdog tells; null: nothing is expected
  ADD COLUMN last_success_at timestamptz,
  -- true: next_run_at is the clock's next slot, and nobody has looked yet whether calendars or a change of clocks keep this job from running then
  ADD COLUMN next_run_unsure boolean NOT NULL DEFAULT false;
CREATE INDEX job_runtime_unsure ON job_runtime (job_id) WHERE next_run_unsure;

ALTER TABLE job_executions
  ADD COLUMN label text,                        -- whoever triggered it says what for
  ADD COLUMN operation_id text;                 -- the backfill or bulk operation that asked for it
CREATE INDEX job_executions_of_operation ON job_executions (operation_id) WHERE operation_id IS NOT NULL;

-- Which freeze or calendar a stretch is of.
ALTER TABLE slot_ranges
  ADD COLUMN freeze_id text,
  ADD COLUMN calendar text;
CREATE INDEX slot_ranges_of_freeze ON slot_ranges (freeze_id) WHERE freeze_id IS NOT NULL;
CREATE INDEX slot_ranges_of_calendar ON slot_ranges (team, calendar, to_at) WHERE calendar IS NOT NULL;

-- Moments of a timing about which there is something to say. `fired` false: Temporal's calendars do not bring it, so that the clock carries it as a dated extra.
--   gap           a wall time that does not exist, moved behind the jump
--   repeat_first, repeat_last   both copies of a time of day that comes twice
--   hourly_first, hourly_last   the same of a calendar that fires every hour
--   odd           Temporal fires although no wall time of the timing says so
--   date          a day worked out by us ("first business day of the month")
CREATE TABLE timing_marks (
  timing_hash  text NOT NULL,
  slot         timestamptz NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('gap', 'repeat_first', 'repeat_last', 'hourly_first', 'hourly_last', 'odd', 'date')),
  fired        boolean NOT NULL,
  PRIMARY KEY (timing_hash, slot)
);
-- Marks are written up to here; infinity: this timing never has any; null: nobody has looked yet.
ALTER TABLE timings ADD COLUMN marks_until timestamptz;
CREATE INDEX timings_by_marks ON timings (marks_until NULLS FIRST);

-- Shared calendars. `document` is what people wrote; versions are kept.
CREATE TABLE calendars (
  team         text NOT NULL,
  name         text NOT NULL,
  description  text,
  version      bigint NOT NULL DEFAULT 1,
  document     json NOT NULL,
  created_by   text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  deleted_at   timestamptz,
  PRIMARY KEY (team, name)
);
CREATE TABLE calendar_versions (
  team        text NOT NULL,
  name        text NOT NULL,
  version     bigint NOT NULL,
  document    json NOT NULL,
  changed_by  text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (team, name, version)
);
-- A calendar's days as moments, for each zone in which some job reads them: [from_at, to_at), merged, none overlapping another.
CREATE TABLE calendar_spans (
  team      text NOT NULL,
  calendar  text NOT NULL,
  zone      text NOT NULL,
  from_at   timestamptz NOT NULL,
  to_at     timestamptz NOT NULL,
  PRIMARY KEY (team, calendar, zone, from_at),
  CHECK (from_at < to_at)
);
CREATE TABLE calendar_zones (
  team        text NOT NULL,
  calendar    text NOT NULL,
  zone        text NOT NULL,
  version     bigint NOT NULL,                   -- of the calendar that the spans were made from
  spans_from  timestamptz NOT NULL,
  spans_until timestamptz NOT NULL,
  PRIMARY KEY (team, calendar, zone)
);

-- Windows in which nothing in their scope starts. In force: from_at <= now < coalesce(ended_at, to_at, infinity).
CREATE TABLE freezes (
  id              text PRIMARY KEY,              -- frz_<uuid v7>
  team            text NOT NULL,
  scope           text NOT NULL CHECK (scope IN ('global', 'team', 'service', 'category', 'tag', 'jobs')),
  -- services, categories or job ids; for tags "name" or "name:value"; empty for global and team
  targets         text[] NOT NULL DEFAULT '{}',
  reason          text NOT NULL,
  from_at         timestamptz NOT NULL,
  to_at           timestamptz,                   -- null: until somebody ends it
  drain           boolean NOT NULL DEFAULT false,
  cancel_running  boolean NOT NULL DEFAULT false,
  version         bigint NOT NULL DEFAULT 1,
  created_by      text NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  ended_at        timestamptz,                   -- ended before its time, or never had one
  ended_by        text,
  settled_at      timestamptz                    -- its ranges are closed and catch-up is arranged
);
CREATE INDEX freezes_unsettled ON freezes (from_at) WHERE settled_at IS NULL;

-- True when a freeze holds this job, by what the job is now.
CREATE FUNCTION freeze_covers(f freezes, j jobs) RETURNS boolean STABLE LANGUAGE sql
  RETURN CASE f.scope
    WHEN 'global' THEN true
    WHEN 'team' THEN true
    WHEN 'service' THEN j.service = ANY (f.targets) OR (j.document #>> '{target,service}') = ANY (f.targets)
    WHEN 'category' THEN j.category = ANY (f.targets)
    WHEN 'jobs' THEN j.id = ANY (f.targets)
    WHEN 'tag' THEN EXISTS (
      SELECT 1 FROM unnest(f.targets) AS t (tag)
       WHERE j.tags ->> split_part(t.tag, ':', 1) IS NOT NULL
         AND (position(':' IN t.tag) = 0 OR j.tags ->> split_part(t.tag, ':', 1) = substr(t.tag, position(':' IN t.tag) + 1)))
  END;

-- What people may want to be told of a job: failed, failed_to_start, missed, late, recovered, paused, succeeded, interval_health.
CREATE TABLE job_events (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  team          text NOT NULL,
  job_id        text NOT NULL,
  kind          text NOT NULL,
  at            timestamptz NOT NULL DEFAULT clock_timestamp(),
  execution_id  text,
  slot          timestamptz,
  details       json,
  taken_at      timestamptz                      -- notifications have been arranged, if anybody wants one
);
CREATE INDEX job_events_of_job ON job_events (job_id, id DESC);
CREATE INDEX job_events_untaken ON job_events (id) WHERE taken_at IS NULL;

CREATE FUNCTION raise_event(p_team text, p_job text, p_kind text, p_execution text, p_slot timestamptz, p_details json) RETURNS void LANGUAGE sql AS $$
  INSERT INTO job_events (team, job_id, kind, execution_id, slot, details) VALUES (p_team, p_job, p_kind, p_execution, p_slot, p_details)
$$;
