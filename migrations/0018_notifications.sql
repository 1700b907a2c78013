-- Who is told of a job's events: channels, rules that name them, and deliveries that survive every process (docs/notifications.md).

-- A way to people or programs. `settings` is what is shown, `secrets` (addresses that are keys, tokens, passwords) never leaves again.
CREATE TABLE channels (
  id           text PRIMARY KEY,                -- chn_<uuid v7>
  team         text NOT NULL,
  name         text NOT NULL,
  type         text NOT NULL CHECK (type IN ('webhook', 'slack', 'email', 'pagerduty')),
  settings     json NOT NULL,                   -- the channel's document without its secrets
  secrets      json NOT NULL,
  muted_until  timestamptz,
  generation   bigint NOT NULL DEFAULT 1,
  created_by   text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE (team, name)
);

-- Rules are [{ on: [kind, …], channel }]. Those of a job stand in its document, those of a service and of a team here; they add up.
ALTER TABLE services ADD COLUMN notify json;
CREATE TABLE team_notify (
  team        text PRIMARY KEY,
  rules       json NOT NULL,                    -- [{ on, channel, filter: { category, service, tags } }]
  generation  bigint NOT NULL DEFAULT 1,
  updated_by  text NOT NULL,
  updated_at  timestamptz NOT NULL DEFAULT now()
);
-- Jobs that have rules of their own: who names a channel.
CREATE INDEX jobs_with_notify ON jobs (team, name) WHERE (document -> 'notify') IS NOT NULL AND deleted_at IS NULL;

-- Until when nobody is told of a job: set by people, no part of its definition.
CREATE TABLE job_mutes (
  job_id       text PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  team         text NOT NULL,
  muted_until  timestamptz NOT NULL,
  reason       text,
  muted_by     text NOT NULL,
  muted_at     timestamptz NOT NULL DEFAULT now()
);

-- True when some rule asks for `succeeded`: most jobs succeed all the time, and an event that nobody wants is not written.
ALTER TABLE job_runtime ADD COLUMN IF NOT EXISTS notify_succeeded boolean NOT NULL DEFAULT false;

-- Whether a rule of a team holds for a job. Every part that is given must fit; of several categories or services one.
CREATE FUNCTION notify_filter_fits(p_filter json, j jobs) RETURNS boolean STABLE LANGUAGE sql
  RETURN p_filter IS NULL OR (
    (p_filter -> 'category' IS NULL OR j.category IN (SELECT v FROM json_array_elements_text(p_filter -> 'category') AS c (v)))
    AND (p_filter -> 'service' IS NULL OR j.service IN (SELECT v FROM json_array_elements_text(p_filter -> 'service') AS s (v)))
    AND (p_filter -> 'tags' IS NULL OR NOT EXISTS (
      SELECT 1 FROM json_each_text(p_filter -> 'tags') AS t (name, value) WHERE j.tags ->> t.name IS DISTINCT FROM t.value)));

-- Which channels want to hear what of a job; one row per rule and kind.
CREATE FUNCTION notify_rules_of(j jobs) RETURNS TABLE (channel text, kind text) STABLE LANGUAGE sql AS $$
  SELECT r.rule ->> 'channel', k.kind
    FROM (
      SELECT x.rule FROM json_array_elements(j.document -> 'notify') AS x (rule)
      UNION ALL
      SELECT x.rule FROM services s, json_array_elements(s.notify) AS x (rule) WHERE s.team = j.team AND s.name = j.service
      UNION ALL
      SELECT x.rule FROM team_notify t, json_array_elements(t.rules) AS x (rule) WHERE t.team = j.team AND notify_filter_fits(x.rule -> 'filter', j)
    ) r, json_array_elements_text(r.rule -> 'on') AS k (kind)
$$;

CREATE FUNCTION asks_succeeded(j jobs) RETURNS boolean STABLE LANGUAGE sql
  RETURN EXISTS (SELECT 1 FROM notify_rules_of(j) r WHERE r.kind = 'succeeded');

-- Brings job_runtime.notify_succeeded up to date for some jobs, in the order of locks.
CREATE FUNCTION keep_notify_succeeded(p_ids text[]) RETURNS void LANGUAGE sql AS $$
  WITH locked AS MATERIALIZED (
    SELECT r.job_id FROM job_runtime r WHERE r.job_id = ANY (p_ids) ORDER BY r.job_id FOR UPDATE
  )
  UPDATE job_runtime r SET notify_succeeded = NOT r.notify_succeeded
    FROM locked l JOIN jobs j ON j.id = l.job_id
   WHERE r.job_id = l.job_id AND r.notify_succeeded <> asks_succeeded(j)
$$;

-- Channels that documents name are there, and stay until the transaction ends. Whoever writes a document has looked before and said which one is missing;
-- this holds against a channel that goes in between, and says "try again".
CREATE FUNCTION hold_notify_channels(p_team text, p_names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM channels c WHERE c.team = p_team AND c.name = ANY (p_names) ORDER BY c.name FOR KEY SHARE;
  IF EXISTS (SELECT unnest(p_names) EXCEPT SELECT c.name FROM channels c WHERE c.team = p_team AND c.name = ANY (p_names)) THEN
    RAISE EXCEPTION 'a channel that is named has just been removed' USING ERRCODE = 'serialization_failure';
  END IF;
END $$;

-- Whoever writes a job's document, and however many at once: its channels are held, and whether its successes are told is known. Once per statement.
CREATE FUNCTION jobs_are_made() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  v_ids   text[];
  v_team  record;
BEGIN
  FOR v_team IN
    SELECT w.team, array_agg(DISTINCT x.rule ->> 'channel') AS names
      FROM made w, json_array_elements(w.document -> 'notify') AS x (rule) WHERE (w.document -> 'notify') IS NOT NULL GROUP BY w.team
  LOOP
    PERFORM hold_notify_channels(v_team.team, v_team.names);
  END LOOP;
  -- Most rules are about trouble: looking for the word first spares most jobs the whole look.
  SELECT array_agg(w.id) INTO v_ids FROM made w
   WHERE (w.document -> 'notify')::text LIKE '%"succeeded"%'
      OR EXISTS (SELECT 1 FROM services s WHERE s.team = w.team AND s.name = w.service AND s.notify::text LIKE '%"succeeded"%')
      OR EXISTS (SELECT 1 FROM team_notify t WHERE t.team = w.team AND t.rules::text LIKE '%"succeeded"%');
  IF v_ids IS NOT NULL THEN PERFORM keep_notify_succeeded(v_ids); END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER jobs_are_made AFTER INSERT ON jobs REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION jobs_are_made();

CREATE FUNCTION job_is_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.document -> 'notify') IS NOT NULL THEN
    PERFORM hold_notify_channels(NEW.team, ARRAY(SELECT DISTINCT x.rule ->> 'channel' FROM json_array_elements(NEW.document -> 'notify') AS x (rule)));
  END IF;
  PERFORM keep_notify_succeeded(ARRAY[NEW.id]);
  RETURN NULL;
END $$;
CREATE TRIGGER job_is_changed AFTER UPDATE OF document ON jobs FOR EACH ROW
  WHEN (OLD.document::text IS DISTINCT FROM NEW.document::text) EXECUTE FUNCTION job_is_changed();

-- Rules of a service or a team have changed: its jobs are looked through, some hundred at a time, by the controller. Twice, for jobs whose
-- making had begun before the change and ended behind the look.
CREATE TABLE notify_recounts (
  team      text NOT NULL,
  service   text NOT NULL DEFAULT '',           -- empty: all jobs of the team
  after_id  text NOT NULL DEFAULT '',
  due_at    timestamptz NOT NULL DEFAULT now(),
  passes    integer NOT NULL DEFAULT 2,
  PRIMARY KEY (team, service)
);

-- One message to one channel, for one event or for many that came together.
--   gathering  open to further events until due_at
--   waiting    due at due_at: held in quiet hours, or to be tried again
--   sending    somebody sends it; due_at is when he is given up
--   delivered | failed | suppressed   the end, `reason` says why it was not sent
CREATE TABLE deliveries (
  id            text PRIMARY KEY,               -- dlv_<uuid v7>; also the message's id for receivers
  team          text NOT NULL,
  channel_id    text NOT NULL,
  channel_name  text NOT NULL,
  channel_type  text NOT NULL,
  kind          text NOT NULL,                  -- of its events, or test
  group_key     text NOT NULL,                  -- what joins it while it gathers
  state         text NOT NULL CHECK (state IN ('gathering', 'waiting', 'sending', 'delivered', 'failed', 'suppressed')),
  reason        text,                           -- quiet_hours | channel_muted | job_muted | channel_deleted | recovered | nothing_to_resolve | gave_up | refused
  events        integer NOT NULL,
  message       json,                           -- what is said, fixed when gathering ends
  dedup_key     text,                           -- PagerDuty: the alert it opens
  resolve_keys  text[],                         -- PagerDuty: the alerts it closes
  attempts      integer NOT NULL DEFAULT 0,     -- of this round
  attempt_log   jsonb NOT NULL DEFAULT '[]',    -- the last 20: { at, outcome, detail, durationMs }
  claim         bigint NOT NULL DEFAULT 0,      -- whoever sends writes only with the newest
  due_at        timestamptz NOT NULL,
  give_up_at    timestamptz,                    -- no further attempt after this one's; set by the first
  requested_by  text,                           -- of a test, or of the last redelivery
  created_at    timestamptz NOT NULL DEFAULT now(),
  finished_at   timestamptz
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX deliveries_gathering ON deliveries (channel_id, group_key) WHERE state = 'gathering';
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state IN ('gathering', 'waiting', 'sending');
CREATE INDEX deliveries_due_of_channel ON deliveries (channel_id, due_at, id) WHERE state IN ('gathering', 'waiting', 'sending');
CREATE INDEX deliveries_of_team ON deliveries (team, id DESC);
CREATE INDEX deliveries_of_channel ON deliveries (channel_id, id DESC);
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE delivery_events (
  delivery_id   text NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
  event_id      bigint NOT NULL,
  team          text NOT NULL,
  channel_id    text NOT NULL,
  job_id        text NOT NULL,
  job_name      text NOT NULL,
  kind          text NOT NULL,
  PRIMARY KEY (delivery_id, event_id)
);
CREATE INDEX delivery_events_of_channel ON delivery_events (channel_id, job_id, event_id DESC);
CREATE INDEX delivery_events_of_job ON delivery_events (team, job_id, delivery_id DESC);

-- Alerts that are open at a PagerDuty channel: which key each job's trouble was told under.
CREATE TABLE open_alerts (
  channel_id  text NOT NULL,
  job_id      text NOT NULL,
  team        text NOT NULL,
  dedup_key   text NOT NULL,
  opened_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (channel_id, job_id)
);
CREATE INDEX open_alerts_by_key ON open_alerts (channel_id, dedup_key);
CREATE INDEX open_alerts_of_job ON open_alerts (job_id);
