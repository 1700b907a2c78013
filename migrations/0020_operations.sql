-- Work on many things that somebody asked for at once (backfills, bulk operations), as rows that a workflow works through; pauses that end by themselves.

CREATE TABLE operations (
  id               text PRIMARY KEY,           -- op_<uuid v7>
  team             text NOT NULL,
  kind             text NOT NULL CHECK (kind IN ('backfill', 'pause', 'resume', 'trigger', 'delete', 'change', 'retry', 'cancel', 'terminate')),
  job_id           text,                       -- of a backfill; null: of many jobs
  origin           text,                       -- the freeze, or the bulk resume, whose catch-up this backfill of many jobs is
  asked            json NOT NULL,              -- what was selected, as it was understood
  params           json NOT NULL,              -- how each item is to be treated
  reason           text,
  rate_per_minute  integer,                    -- null: as fast as it goes
  state            text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'completed', 'aborted')),
  waiting_for      text,                       -- why it does not go on just now: overlap, paused, frozen; null: it does
  total            integer NOT NULL,
  done             integer NOT NULL DEFAULT 0,
  outcomes         jsonb NOT NULL DEFAULT '{}', -- how many items have which result; the pending ones are left out
  next_at          timestamptz NOT NULL DEFAULT now(), -- not before: what the rate leaves
  look_at          timestamptz NOT NULL DEFAULT now(), -- nobody has worked on it by then: a controller starts its workflow (again)
  requested_by     text NOT NULL,
  request_id       text,
  created_at       timestamptz NOT NULL DEFAULT now(),
  started_at       timestamptz,
  finished_at      timestamptz,
  aborted_by       text
);
CREATE INDEX operations_by_creation ON operations (team, created_at DESC, id DESC);
CREATE INDEX operations_to_look_at ON operations (look_at) WHERE finished_at IS NULL;
CREATE INDEX operations_open_catch_ups ON operations (origin, team) WHERE finished_at IS NULL AND origin IS NOT NULL;
CREATE INDEX operations_finished ON operations (finished_at) WHERE finished_at IS NOT NULL;

-- What was selected, frozen when the operation was written, and what became of each.
CREATE TABLE operation_items (
  operation_id  text NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
  position      integer NOT NULL,              -- from 1, in the order of work
  team          text NOT NULL,
  job_id        text NOT NULL,
  execution_id  text,                          -- that is retried, cancelled or terminated
  slot          timestamptz,                   -- that is backfilled
  result        text NOT NULL DEFAULT 'pending' CHECK (result IN ('pending', 'succeeded', 'unchanged', 'skipped', 'refused', 'failed', 'aborted')),
  made          text,                          -- the execution or backfill that came of it
  code          text,                          -- why not, for programs and for people
  message       text,
  done_at       timestamptz,
  PRIMARY KEY (operation_id, position)
);
CREATE INDEX operation_items_pending ON operation_items (operation_id, position) WHERE result = 'pending';
CREATE INDEX operation_items_of_job ON operation_items (job_id, slot);

-- A pause that ends by itself at this time; null: somebody ends it. Kept beside jobs.pause, which people read.
ALTER TABLE job_runtime ADD COLUMN resume_at timestamptz;
CREATE INDEX job_runtime_to_resume ON job_runtime (resume_at) WHERE resume_at IS NOT NULL;
