-- Executions leave by the month: written to an archive, read back, and only then dropped (docs/archives.md, docs/decisions/0018).

-- One row per month that has to leave. `held` and `writing` can be begun again at any moment; `written`: everything is outside and was read back; `complete`: the partitions are gone.
CREATE TABLE archives (
  id                  text PRIMARY KEY,          -- arc_<uuid v7>
  month               timestamptz NOT NULL,      -- its first moment, UTC
  until               timestamptz NOT NULL,      -- the first moment of the month after
  state               text NOT NULL CHECK (state IN ('held', 'writing', 'written', 'complete')),
  reason              text,                      -- why it does not go on: no_archive, unfinished, clocks_behind, place_failed
  detail              text,                      -- the same as a sentence
  place               text CHECK (place IN ('directory', 'bucket')), -- null: there was nothing to keep
  address             text,                      -- of that place when it was written, for people
  folder              text NOT NULL,             -- the objects' names begin with it
  claim               bigint NOT NULL DEFAULT 0, -- whoever writes takes the next one; what an earlier one still writes does not count
  schema_version      text,
  executions          bigint NOT NULL DEFAULT 0,
  attempts            bigint NOT NULL DEFAULT 0,
  ranges              bigint NOT NULL DEFAULT 0, -- of slot_ranges, those that ended in the month
  bytes               bigint NOT NULL DEFAULT 0, -- compressed
  -- sums of the hashes of all lines, whatever their order: what was written is what the detached tables hold
  executions_digest   numeric NOT NULL DEFAULT 0,
  attempts_digest     numeric NOT NULL DEFAULT 0,
  ranges_digest       numeric NOT NULL DEFAULT 0,
  created_at          timestamptz NOT NULL DEFAULT now(),
  updated_at          timestamptz NOT NULL DEFAULT now(),
  written_at          timestamptz,
  completed_at        timestamptz
);
-- A month can come back when somebody writes a row of long ago; it leaves as an archive of its own then.
CREATE UNIQUE INDEX archives_open ON archives (month) WHERE state <> 'complete';
CREATE INDEX archives_by_month ON archives (month DESC, id DESC);

-- A stretch of a team's executions in the order (team, job, time, id), with their attempts: one object of each table. Stretches of slots have chunks of their own.
CREATE TABLE archive_chunks (
  archive_id         text NOT NULL REFERENCES archives (id) ON DELETE CASCADE,
  nth                integer NOT NULL,
  team               text NOT NULL,
  first_job          text COLLATE "C" NOT NULL,
  first_at           timestamptz NOT NULL,
  last_job           text COLLATE "C" NOT NULL,
  last_at            timestamptz NOT NULL,
  last_id            text NOT NULL,
  executions         bigint NOT NULL,
  attempts           bigint NOT NULL,
  ranges             bigint NOT NULL,
  executions_digest  numeric NOT NULL,
  attempts_digest    numeric NOT NULL,
  ranges_digest      numeric NOT NULL,
  objects            json NOT NULL,              -- [{ table, name, rows, bytes, rawBytes, sha256 }]
  PRIMARY KEY (archive_id, nth)
);
CREATE INDEX archive_chunks_of_team ON archive_chunks (team, archive_id, nth);

-- The tables of months that lie before p_until as a whole, oldest first. `attached` false: it is no partition any more (or is about to be none), nobody else writes it.
CREATE FUNCTION archive_tables(p_until timestamptz)
RETURNS TABLE (month timestamptz, until timestamptz, parent text, name text, attached boolean, pending boolean) STABLE LANGUAGE sql AS $$
  SELECT t.month, t.until, t.parent, t.name, coalesce(NOT i.inhdetachpending, false), coalesce(i.inhdetachpending, false)
    FROM (SELECT c.oid, m[1] AS parent, c.relname::text AS name, make_timestamptz(m[2]::integer, m[3]::integer, 1, 0, 0, 0, 'UTC') AS month,
                 (make_timestamp(m[2]::integer, m[3]::integer, 1, 0, 0, 0) + interval '1 month') AT TIME ZONE 'UTC' AS until
            FROM pg_class c CROSS JOIN LATERAL regexp_match(c.relname, '^(job_executions|job_attempts)_(\d{4})_(0[1-9]|1[0-2])$') AS m
           WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND m IS NOT NULL) t
    LEFT JOIN pg_inherits i ON i.inhrelid = t.oid
   WHERE t.until <= p_until
   ORDER BY t.month, t.parent
$$;

-- A row becomes a line of an archive by translate(row_to_json(row)::text, E'\n\r', '  '): all its columns, also those that are added after this, in UTC; `json` values keep line breaks
-- of their own, which mean nothing there. As a function of its own it would take ten times as long.

-- How many executions of which jobs a month has, in the order in which they are archived.
CREATE FUNCTION archive_jobs(p_table regclass) RETURNS TABLE (team text, job_id text, executions bigint) STABLE LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY EXECUTE format('SELECT e.team, e.job_id, count(*) FROM %s e GROUP BY e.team, e.job_id ORDER BY e.team COLLATE "C", e.job_id COLLATE "C"', p_table);
END $$;

-- The next executions of some jobs of a team, after a time and id of the first of them.
CREATE FUNCTION archive_executions(p_table regclass, p_team text, p_jobs text[], p_after_at timestamptz, p_after_id text, p_limit integer)
RETURNS TABLE (job_id text, at text, id text, line text, digest bigint) STABLE LANGUAGE plpgsql SET TimeZone = 'UTC' AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'SELECT j.job_id, e.at, e.id, e.line, hashtextextended(e.line, 0)
       FROM unnest($2) WITH ORDINALITY AS j (job_id, nth)
      CROSS JOIN LATERAL (
        SELECT e.partition_at, e.partition_at::text AS at, e.id, translate(row_to_json(e)::text, E''\n\r'', ''  '') AS line FROM %s e
         WHERE e.team = $1 AND e.job_id = j.job_id AND e.partition_at >= CASE WHEN j.nth = 1 AND $3 IS NOT NULL THEN $3 ELSE ''-infinity'' END
           AND ($3 IS NULL OR j.nth > 1 OR (e.partition_at, e.id) > ($3, $4))
         ORDER BY e.partition_at, e.id LIMIT $5) e
      ORDER BY j.nth, e.partition_at, e.id LIMIT $5', p_table)
  USING p_team, p_jobs, p_after_at, p_after_id, p_limit;
END $$;

-- The attempts of these executions.
CREATE FUNCTION archive_attempts(p_table regclass, p_team text, p_at timestamptz[], p_ids text[]) RETURNS TABLE (line text, digest bigint)
STABLE LANGUAGE plpgsql SET TimeZone = 'UTC' AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'SELECT a.line, hashtextextended(a.line, 0)
       FROM unnest($2, $3) WITH ORDINALITY AS k (at, id, nth)
      CROSS JOIN LATERAL (
        SELECT a.attempt, translate(row_to_json(a)::text, E''\n\r'', ''  '') AS line FROM %s a WHERE a.partition_at = k.at AND a.execution_id = k.id AND a.team = $1 ORDER BY a.attempt) a
      ORDER BY k.nth, a.attempt', p_table)
  USING p_team, p_at, p_ids;
END $$;

-- Attempts without an execution: nothing writes such, and if there are any all the same, they are not lost.
CREATE FUNCTION archive_loose_attempts(p_attempts regclass, p_executions regclass, p_limit integer)
RETURNS TABLE (team text, job_id text, at text, id text, line text, digest bigint) STABLE LANGUAGE plpgsql SET TimeZone = 'UTC' AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'SELECT a.team, left(a.execution_id, 40), a.partition_at::text, a.execution_id, l.line, hashtextextended(l.line, 0)
       FROM %s a CROSS JOIN LATERAL (SELECT translate(row_to_json(a)::text, E''\n\r'', ''  '') AS line) l
      WHERE NOT EXISTS (SELECT 1 FROM %s e WHERE e.partition_at = a.partition_at AND e.id = a.execution_id AND e.team = a.team)
      ORDER BY a.team COLLATE "C", a.execution_id COLLATE "C", a.partition_at, a.attempt LIMIT $1', p_attempts, p_executions)
  USING p_limit;
END $$;

-- The next stretches of slots that ended between two moments.
CREATE FUNCTION archive_ranges(p_from timestamptz, p_until timestamptz, p_team text, p_job text, p_at timestamptz, p_reason text, p_limit integer)
RETURNS TABLE (team text, job_id text, at text, reason text, line text, digest bigint) STABLE LANGUAGE sql SET TimeZone = 'UTC' AS $$
  SELECT g.team, g.job_id, g.from_at::text, g.reason, l.line, hashtextextended(l.line, 0)
    FROM (SELECT g.* FROM slot_ranges g
           WHERE g.to_at >= p_from AND g.to_at < p_until
             AND (p_team IS NULL OR (g.team COLLATE "C", g.job_id COLLATE "C", g.from_at, g.reason COLLATE "C") > (p_team, p_job, p_at, p_reason))
           ORDER BY g.team COLLATE "C", g.job_id COLLATE "C", g.from_at, g.reason COLLATE "C" LIMIT p_limit) g
   CROSS JOIN LATERAL (SELECT translate(row_to_json(g)::text, E'\n\r', '  ') AS line) l
   ORDER BY g.team COLLATE "C", g.job_id COLLATE "C", g.from_at, g.reason COLLATE "C"
$$;

-- Removes them, and says what they were.
CREATE FUNCTION archive_take_ranges(p_from timestamptz, p_until timestamptz) RETURNS TABLE (held bigint, digest numeric) LANGUAGE sql SET TimeZone = 'UTC' AS $$
  WITH gone AS (
    DELETE FROM slot_ranges g WHERE g.to_at >= p_from AND g.to_at < p_until RETURNING g.*
  )
  SELECT count(*), coalesce(sum(hashtextextended(translate(row_to_json(g)::text, E'\n\r', '  '), 0)::numeric), 0) FROM gone g
$$;

-- What a table holds: how many rows and the sum of the hashes of its lines.
CREATE FUNCTION archive_digest(p_table regclass) RETURNS TABLE (held bigint, digest numeric) STABLE LANGUAGE plpgsql SET TimeZone = 'UTC' AS $$
BEGIN
  RETURN QUERY EXECUTE format('SELECT count(*), coalesce(sum(hashtextextended(translate(row_to_json(t)::text, E''\n\r'', ''  ''), 0)::numeric), 0) FROM %s t', p_table);
END $$;

CREATE FUNCTION archive_is_empty(p_table regclass) RETURNS boolean STABLE LANGUAGE plpgsql AS $$
DECLARE
  v_some boolean;
BEGIN
  EXECUTE format('SELECT EXISTS (SELECT FROM %s)', p_table) INTO v_some;
  RETURN NOT v_some;
END $$;

-- An execution of this month that has not ended, or null.
CREATE FUNCTION archive_unfinished(p_table regclass) RETURNS text STABLE LANGUAGE plpgsql AS $$
DECLARE
  v_id text;
BEGIN
  EXECUTE format('SELECT e.id FROM %s e WHERE e.finished_at IS NULL LIMIT 1', p_table) INTO v_id;
  RETURN v_id;
END $$;

-- Memberships that ended long ago are found without reading the others.
CREATE INDEX clock_members_by_end ON clock_members (valid_to) WHERE valid_to <> 'infinity';

-- As in 0002, but nobody waits for it: CREATE TABLE … PARTITION OF locks the parent against all readers and writers, and waits for those that read (docs/decisions/0018). A table that
-- is made by itself and then attached locks out nobody.
CREATE OR REPLACE FUNCTION ensure_partitions(p_at timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_from timestamptz := date_trunc('month', p_at, 'UTC');
  -- the month after, computed in UTC whatever the session's zone is
  v_to   timestamptz := ((v_from AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
  v_month text := to_char(v_from AT TIME ZONE 'UTC', 'YYYY_MM');
  v_made integer := 0;
  v_parent text;
BEGIN
  FOREACH v_parent IN ARRAY ARRAY['job_executions', 'job_attempts'] LOOP
    IF to_regclass(v_parent || '_' || v_month) IS NULL THEN
      PERFORM pg_advisory_xact_lock(hashtext('almanac-partitions'));
      IF to_regclass(v_parent || '_' || v_month) IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (fillfactor = 85)', v_parent || '_' || v_month, v_parent);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', v_parent, v_parent || '_' || v_month, v_from, v_to);
        v_made := v_made + 1;
      END IF;
    END IF;
  END LOOP;
  RETURN v_made;
END $$;
