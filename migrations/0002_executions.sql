-- What happened: one row per execution and per skipped slot, under one key, in monthly partitions (semantics.md 1, 2).
-- partition_at is a pure function of the id: the nominal time for slots, the uuid v7's time for everything else.

CREATE TABLE job_executions (
  partition_at      timestamptz NOT NULL,
  id                text NOT NULL,
  team              text NOT NULL,
  job_id            text NOT NULL,
  job_name          text NOT NULL,
  generation        bigint NOT NULL,
  pinned            boolean NOT NULL DEFAULT false, -- true: runs this generation's definition, not the current one
  trigger           text NOT NULL CHECK (trigger IN ('schedule', 'manual', 'backfill', 'retry', 'once', 'batch')),
  slot              timestamptz,
  due_at            timestamptz NOT NULL,       -- slot + offset, or the moment of the trigger
  status            text NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'timed_out', 'cancelled', 'terminated', 'skipped')),
  waiting           boolean NOT NULL DEFAULT false, -- queued behind another execution of its job; no workflow yet
  counted           boolean NOT NULL DEFAULT false, -- in job_runtime.active or .waiting; a one-off counts from the moment it is admitted
  reason            text,
  attempt           integer NOT NULL DEFAULT 0, -- claims so far: the number of the call that is (or was last) made; the fence of record
  tries             integer NOT NULL DEFAULT 0, -- attempts whose outcome is recorded and counts against max_attempts
  max_attempts      integer NOT NULL,
  priority          smallint NOT NULL,
  queue             text NOT NULL,
  dispatch          text NOT NULL,
  workflow_id       text,
  run_id            text,                       -- null: not known to have been started
  retry_of          text,
  requested_by      text,
  input             json,                       -- null: the definition's input
  has_input         boolean NOT NULL DEFAULT false,
  timeout_ms        bigint,                     -- overrides of a trigger
  created_at        timestamptz NOT NULL DEFAULT now(),
  started_at        timestamptz,
  finished_at       timestamptz,
  cancel_requested_at timestamptz,
  cancel_by         text,
  result            json,
  error             json,                       -- { type, message, attempt }
  PRIMARY KEY (partition_at, id)
) PARTITION BY RANGE (partition_at);
CREATE INDEX job_executions_of_job ON job_executions (job_id, partition_at DESC, id DESC);
CREATE INDEX job_executions_by_start ON job_executions (job_id, started_at DESC);
CREATE INDEX job_executions_unfinished ON job_executions (job_id, waiting) WHERE status IN ('queued', 'running');

-- Every attempt as record wrote it: local attempts are invisible in Temporal (semantics.md 4).
CREATE TABLE job_attempts (
  partition_at  timestamptz NOT NULL,
  execution_id  text NOT NULL,
  attempt       integer NOT NULL,
  team          text NOT NULL,
  status        text NOT NULL,                  -- succeeded | failed | timed_out | cancelled | lost
  started_at    timestamptz NOT NULL,
  finished_at   timestamptz NOT NULL,
  response_status integer,
  error         json,
  worker        text,
  PRIMARY KEY (partition_at, execution_id, attempt)
) PARTITION BY RANGE (partition_at);

-- Makes the monthly partitions (UTC) that hold p_at; returns how many were made. Safe to call from several processes at once.
CREATE FUNCTION ensure_partitions(p_at timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_from timestamptz := date_trunc('month', p_at, 'UTC');
  v_to   timestamptz := date_trunc('month', p_at, 'UTC') + interval '1 month';
  v_month text := to_char(v_from AT TIME ZONE 'UTC', 'YYYY_MM');
  v_made integer := 0;
  v_parent text;
BEGIN
  -- the month after, computed in UTC whatever the session's zone is
  v_to := ((v_from AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
  FOREACH v_parent IN ARRAY ARRAY['job_executions', 'job_attempts'] LOOP
    IF to_regclass(v_parent || '_' || v_month) IS NULL THEN
      PERFORM pg_advisory_xact_lock(hashtext('almanac-partitions'));
      IF to_regclass(v_parent || '_' || v_month) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 85)', v_parent || '_' || v_month, v_parent, v_from, v_to);
        v_made := v_made + 1;
      END IF;
    END IF;
  END LOOP;
  RETURN v_made;
END $$;

-- The past month (late slots), this one and two ahead; the controller keeps them ahead.
SELECT ensure_partitions(now() + make_interval(months => step)) FROM generate_series(-1, 2) AS step;
