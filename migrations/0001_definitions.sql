-- Definitions: what people want. Every table carries its team, every statement filters by it.
-- Lock order everywhere: job_runtime (in job id order) -> jobs -> clocks -> executions. The runtime row is the lock of its job.

CREATE TABLE api_keys (
  id          text PRIMARY KEY,
  team        text NOT NULL,
  name        text NOT NULL,
  key_hash    bytea NOT NULL UNIQUE,          -- SHA-256 of the key; the key itself is never stored
  role        text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE services (
  id           text PRIMARY KEY,               -- svc_<uuid v7>
  team         text NOT NULL,
  name         text NOT NULL,
  description  text,
  base_url     text NOT NULL,
  headers      jsonb NOT NULL DEFAULT '{}',    -- sent with every call to this service
  openapi_url  text,
  generation   bigint NOT NULL DEFAULT 1,
  created_by   text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE (team, name)
);

CREATE TABLE jobs (
  id           text PRIMARY KEY,               -- job_<uuid v7>
  team         text NOT NULL,
  name         text NOT NULL,
  service      text,                           -- owner: name of a registered service
  category     text,
  priority     smallint NOT NULL,              -- 1 highest … 5
  tags         jsonb NOT NULL DEFAULT '{}',
  state        text NOT NULL CHECK (state IN ('active', 'paused', 'disabled', 'finished', 'on_demand', 'deleting')),
  generation   bigint NOT NULL,
  document     json NOT NULL,                  -- the job document with defaults filled in; kept as text so that lists pass it on as it is
  clock_id     text,                           -- null: on demand or one-off
  pause        jsonb,                          -- { reason, by, at, blockManual, automatic } while paused
  created_by   text NOT NULL,
  created_at   timestamptz NOT NULL,
  updated_at   timestamptz NOT NULL,
  deleted_at   timestamptz                     -- tombstone: purged once Temporal has confirmed
);
CREATE UNIQUE INDEX jobs_name ON jobs (team, name) WHERE deleted_at IS NULL;
CREATE INDEX jobs_by_creation ON jobs (team, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX jobs_by_creator ON jobs (created_by, state);
CREATE INDEX jobs_tombstones ON jobs (deleted_at) WHERE deleted_at IS NOT NULL;

-- The small, often written part of a job: its lock, its counters, and the policy that admit decides by.
CREATE TABLE job_runtime (
  job_id                text PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  team                  text NOT NULL,
  job_name              text NOT NULL,
  generation            bigint NOT NULL,
  priority              smallint NOT NULL,
  queue                 text NOT NULL,
  dispatch              text NOT NULL DEFAULT 'dedicated',
  enabled               boolean NOT NULL DEFAULT true,
  paused_at             timestamptz,            -- null: not paused
  block_manual          boolean NOT NULL DEFAULT false,
  overlap               text NOT NULL CHECK (overlap IN ('skip', 'buffer_one', 'buffer_all', 'cancel_other', 'terminate_other', 'allow_all')),
  catch_up              text NOT NULL CHECK (catch_up IN ('none', 'last', 'all')),
  catch_up_window_ms    bigint NOT NULL,
  offset_s              integer NOT NULL DEFAULT 0, -- seconds after the slot at which the call is due (from jitter)
  max_attempts          integer NOT NULL,
  pause_after_failures  integer,
  active                integer NOT NULL DEFAULT 0, -- unfinished executions that may run (queued, not waiting; or running)
  waiting               integer NOT NULL DEFAULT 0, -- queued behind active ones
  next_run_at           timestamptz,            -- null unless the job is active and has a slot ahead
  consecutive_failures  integer NOT NULL DEFAULT 0,
  last_outcome          text,
  last_execution        json                    -- { id, status, slot, startedAt, finishedAt, durationMs } of the last finished one
) WITH (fillfactor = 70);
CREATE INDEX job_runtime_active_by_priority ON job_runtime (priority, next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX job_runtime_by_next_run ON job_runtime (team, next_run_at, job_id);

CREATE TABLE job_revisions (
  job_id      text NOT NULL,
  generation  bigint NOT NULL,
  team        text NOT NULL,
  document    json NOT NULL,
  changed_by  text NOT NULL,
  created_at  timestamptz NOT NULL,
  PRIMARY KEY (job_id, generation)
);

-- Timing as a clock's hash covers it (semantics.md 5); immutable, shared by all that fire alike.
CREATE TABLE timings (
  hash    text PRIMARY KEY,
  timing  json NOT NULL
);

-- A clock is one Temporal schedule. Reconciling knows clocks, not jobs.
CREATE TABLE clocks (
  id                   text PRIMARY KEY,        -- dedicated: the job's id; pooled: clock_<hash>
  team                 text NOT NULL,
  kind                 text NOT NULL CHECK (kind IN ('dedicated', 'pooled')),
  timing_hash          text NOT NULL,
  queue                text NOT NULL,
  paused               boolean NOT NULL DEFAULT false, -- no member wants to fire: shown paused in Temporal; admit decides all the same
  generation           bigint NOT NULL DEFAULT 1,
  observed_generation  bigint NOT NULL DEFAULT 0, -- what Temporal is known to have; 0: never created
  reconcile_at         timestamptz NOT NULL DEFAULT now(), -- not before (backoff)
  failures             integer NOT NULL DEFAULT 0,
  last_error           text,
  empty_since          timestamptz,             -- no member since
  deleted_at           timestamptz,             -- tombstone
  checked_until        timestamptz NOT NULL DEFAULT now(), -- every slot up to here has a row
  next_check_at        timestamptz,             -- when the next slot is 15 s overdue; null: no slot ahead
  created_at           timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX clocks_pending ON clocks (reconcile_at) WHERE generation <> observed_generation;
CREATE INDEX clocks_to_check ON clocks (next_check_at) WHERE deleted_at IS NULL;
CREATE INDEX clocks_empty ON clocks (empty_since) WHERE empty_since IS NOT NULL;

-- Membership is an interval: a slot belongs to the members of its nominal time, never to "members now" (semantics.md 6).
CREATE TABLE clock_members (
  job_id       text NOT NULL,
  clock_id     text NOT NULL,
  team         text NOT NULL,
  generation   bigint NOT NULL,                 -- of the job when it joined
  timing_hash  text NOT NULL,
  valid_from   timestamptz NOT NULL,
  valid_to     timestamptz NOT NULL DEFAULT 'infinity',
  PRIMARY KEY (clock_id, job_id, valid_from),
  CHECK (valid_from <= valid_to)
);
CREATE INDEX clock_members_of_job ON clock_members (job_id, valid_to);

-- Stretches in which a job's slots do not start: one row, never a row per slot. Open while to_at is null.
CREATE TABLE slot_ranges (
  team     text NOT NULL,
  job_id   text NOT NULL,
  reason   text NOT NULL,                       -- paused | frozen | excluded | missed
  from_at  timestamptz NOT NULL,
  to_at    timestamptz,
  count    integer,                             -- slots inside, written when the stretch ends
  by       text,
  note     text,
  PRIMARY KEY (job_id, from_at, reason)
);

CREATE TABLE idempotency_keys (
  team        text NOT NULL,
  holder      text NOT NULL,                    -- id of the API key
  method      text NOT NULL,
  path        text NOT NULL,
  key         text NOT NULL,
  body_hash   bytea NOT NULL,
  status      integer,
  location    text,
  body        text,
  complete    boolean NOT NULL DEFAULT false,   -- false: the body is provisional (sync not known yet)
  created_at  timestamptz NOT NULL DEFAULT now(),
  expires_at  timestamptz NOT NULL,
  PRIMARY KEY (holder, method, path, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

CREATE TABLE audit_events (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  team          text NOT NULL,
  at            timestamptz NOT NULL DEFAULT now(),
  actor         text NOT NULL,
  action        text NOT NULL,                  -- job.created, job.paused, execution.cancelled, …
  subject_kind  text NOT NULL,
  subject_id    text NOT NULL,
  before        json,
  after         json,
  request_id    text
);
CREATE INDEX audit_events_of_subject ON audit_events (subject_id, id DESC);
CREATE INDEX audit_events_by_time ON audit_events (team, id DESC);

-- Live workers and the handlers they offer, so that an unknown handler is refused at save.
CREATE TABLE workers (
  id         text PRIMARY KEY,
  queues     text[] NOT NULL,
  handlers   json NOT NULL,                     -- [{ name, description, input }]
  started_at timestamptz NOT NULL DEFAULT now(),
  seen_at    timestamptz NOT NULL DEFAULT now()
);
