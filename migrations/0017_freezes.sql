-- What happens around a freeze: running executions go on, are waited for or cancelled, and what it swallowed is settled once when it is over (semantics.md 1, 13, 24).

ALTER TABLE freezes
  ADD COLUMN drained_at timestamptz,                 -- nothing of what it covers ran any more; kept by freezes that drain or cancel
  ADD COLUMN cancelled integer NOT NULL DEFAULT 0;   -- executions it has asked to stop
CREATE INDEX freezes_by_start ON freezes (team, from_at DESC, id DESC);
-- what the controller looks at every second
CREATE INDEX freezes_undrained ON freezes (from_at) WHERE settled_at IS NULL AND drained_at IS NULL AND (drain OR cancel_running);

ALTER TABLE slot_ranges
  ADD COLUMN settled_at timestamptz,                 -- of a freeze's stretch: it is exact, its slots are counted, and what becomes of them is arranged
  ADD COLUMN catch_up_operation text;                -- the backfill that runs them, if the job's policy asks for one
CREATE INDEX slot_ranges_unsettled ON slot_ranges (freeze_id, job_id) WHERE freeze_id IS NOT NULL AND settled_at IS NULL;
CREATE INDEX slot_ranges_unsettled_of_job ON slot_ranges (job_id) WHERE freeze_id IS NOT NULL AND settled_at IS NULL;

-- What it held back, or kept from running although it was due before.
CREATE INDEX job_executions_of_freeze ON job_executions (freeze_id, job_id) WHERE freeze_id IS NOT NULL;

-- When a freeze is over, or will be: infinity as long as nobody knows.
CREATE FUNCTION freeze_end(f freezes) RETURNS timestamptz IMMUTABLE PARALLEL SAFE LANGUAGE sql
  RETURN coalesce(f.ended_at, f.to_at, 'infinity'::timestamptz);

-- upcoming | draining | active | ended, at a moment.
CREATE FUNCTION freeze_state(f freezes, p_at timestamptz) RETURNS text IMMUTABLE PARALLEL SAFE LANGUAGE sql
  RETURN CASE
    WHEN coalesce(f.ended_at, f.to_at, 'infinity'::timestamptz) <= p_at THEN 'ended'
    WHEN f.from_at > p_at THEN 'upcoming'
    WHEN f.drain AND f.drained_at IS NULL THEN 'draining'
    ELSE 'active'
  END;
