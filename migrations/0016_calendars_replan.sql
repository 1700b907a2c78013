-- Which jobs read calendars, and how far the jobs of a calendar have been told of its last change.

-- The few jobs that name calendars are found without a look at all others.
CREATE INDEX job_runtime_calendars ON job_runtime (team, job_id) WHERE calendar_zone IS NOT NULL;

-- A change writes its stretches at once; the next runs of its jobs are worked out behind it, up to this version. Jobs are locked before calendars everywhere,
-- so that a change, which holds its calendar, does not touch them itself.
ALTER TABLE calendars ADD COLUMN replanned_version bigint NOT NULL DEFAULT 1;
CREATE INDEX calendars_to_replan ON calendars (team, name) WHERE replanned_version < version;

-- Stretches end; whoever keeps them ahead asks for those that end first.
CREATE INDEX calendar_zones_by_end ON calendar_zones (spans_until);
