/** Statements on calendars and their versions. A name is never freed: a calendar that comes back goes on with the next version of it. */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { CalendarDocument } from './calendar-document.ts';

export type StoredCalendar = { document: CalendarDocument; version: number; createdBy: string; createdAt: Date; updatedAt: Date };
export type CalendarSummary = {
  name: string;
  description: string | null;
  version: number;
  /** Parts of the document that say something: `dates`, `holidays`, … */
  parts: string[];
  /** Jobs that name it. */
  jobs: number;
  createdBy: string;
  createdAt: Date;
  updatedAt: Date;
};
export type CalendarVersion = { version: number; document: CalendarDocument; changedBy: string; createdAt: Date };

type CalendarRow = { document: CalendarDocument; version: string; created_by: string; created_at: Date; updated_at: Date };
const COLUMNS = 'document, version, created_by, created_at, updated_at';
const toStored = (row: CalendarRow): StoredCalendar => ({
  document: row.document,
  version: Number(row.version),
  createdBy: row.created_by,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

export async function calendarFind(database: Queryable, team: string, name: string): Promise<StoredCalendar | null> {
  const { rows } = await database.query<CalendarRow>(
    `SELECT ${COLUMNS} FROM calendars WHERE team = $1 AND name = $2 AND deleted_at IS NULL`,
    [team, name],
  );
  return rows[0] ? toStored(rows[0]) : null;
}

/** The same, locked against changes and against jobs that begin to name it, until the transaction ends. */
export async function calendarLock(tx: Transaction, team: string, name: string): Promise<StoredCalendar | null> {
  const { rows } = await tx.query<CalendarRow>(
    `SELECT ${COLUMNS} FROM calendars WHERE team = $1 AND name = $2 AND deleted_at IS NULL FOR UPDATE`,
    [team, name],
  );
  return rows[0] ? toStored(rows[0]) : null;
}

/** Inserts a calendar with its first version, or the next one of a name that was deleted; null when the name is taken. */
export async function calendarInsert(
  tx: Transaction,
  team: string,
  document: CalendarDocument,
  by: string,
): Promise<StoredCalendar | null> {
  const { rows } = await tx.query<CalendarRow>(
    `INSERT INTO calendars AS c (team, name, description, document, created_by) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (team, name) DO UPDATE
       SET description = excluded.description, document = excluded.document, created_by = excluded.created_by, created_at = clock_timestamp(),
           updated_at = clock_timestamp(), deleted_at = NULL, version = c.version + 1, replanned_version = c.version + 1
       WHERE c.deleted_at IS NOT NULL
     RETURNING ${COLUMNS}`,
    [team, document.name, document.description ?? null, JSON.stringify(document), by],
  );
  if (!rows[0]) return null;
  const stored = toStored(rows[0]);
  await versionInsert(tx, team, stored, by);
  return stored;
}

/** Writes the next version of a locked calendar. */
export async function calendarUpdate(tx: Transaction, team: string, document: CalendarDocument, by: string): Promise<StoredCalendar> {
  const { rows } = await tx.query<CalendarRow>(
    `UPDATE calendars SET description = $3, document = $4, version = version + 1, updated_at = clock_timestamp()
      WHERE team = $1 AND name = $2 AND deleted_at IS NULL RETURNING ${COLUMNS}`,
    [team, document.name, document.description ?? null, JSON.stringify(document)],
  );
  const stored = toStored(rows[0]!);
  await versionInsert(tx, team, stored, by);
  return stored;
}

async function versionInsert(tx: Transaction, team: string, { document, version }: StoredCalendar, by: string): Promise<void> {
  await tx.query('INSERT INTO calendar_versions (team, name, version, document, changed_by) VALUES ($1, $2, $3, $4, $5)', [
    team,
    document.name,
    version,
    JSON.stringify(document),
    by,
  ]);
}

/** Takes a locked calendar away, with its stretches; its versions stay. */
export async function calendarDelete(tx: Transaction, team: string, name: string): Promise<void> {
  await tx.query('UPDATE calendars SET deleted_at = clock_timestamp() WHERE team = $1 AND name = $2', [team, name]);
  await tx.query('DELETE FROM calendar_zones WHERE team = $1 AND calendar = $2', [team, name]);
  await tx.query('DELETE FROM calendar_spans WHERE team = $1 AND calendar = $2', [team, name]);
}

/** By name, with how many jobs use each. `after`: the name to go on after. */
export async function calendarsList(database: Queryable, team: string, limit: number, after: string | null): Promise<CalendarSummary[]> {
  const { rows } = await database.query<{
    name: string;
    description: string | null;
    version: string;
    parts: string[];
    jobs: string;
    created_by: string;
    created_at: Date;
    updated_at: Date;
  }>(
    `WITH page AS (
       SELECT c.name, c.description, c.version, c.created_by, c.created_at, c.updated_at,
              ARRAY(SELECT k FROM json_object_keys(c.document) AS k WHERE k NOT IN ('name', 'description')) AS parts
         FROM calendars c
        WHERE c.team = $1 AND c.deleted_at IS NULL AND ($3::text IS NULL OR c.name > $3) ORDER BY c.name LIMIT $2
     ), used AS (
       SELECT n.name, count(*) AS jobs FROM (
         SELECT u.name, r.job_id
           FROM job_runtime r JOIN jobs j ON j.id = r.job_id AND j.deleted_at IS NULL,
                unnest(coalesce(r.include_calendars, '{}') || coalesce(r.exclude_calendars, '{}')) AS u (name)
          WHERE r.team = $1 AND r.calendar_zone IS NOT NULL
         UNION
         SELECT rule ->> 'holidays', j.id FROM jobs j, json_array_elements(j.document #> '{schedule,calendar}') AS rule
          WHERE j.team = $1 AND (j.document #> '{schedule,calendar}') IS NOT NULL AND j.deleted_at IS NULL
       ) n GROUP BY n.name
     )
     SELECT p.name, p.description, p.version, p.parts, coalesce(u.jobs, 0) AS jobs, p.created_by, p.created_at, p.updated_at
       FROM page p LEFT JOIN used u ON u.name = p.name ORDER BY p.name`,
    [team, limit, after],
  );
  return rows.map((row) => ({
    name: row.name,
    description: row.description,
    version: Number(row.version),
    parts: row.parts,
    jobs: Number(row.jobs),
    createdBy: row.created_by,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }));
}

/** Versions of a name, newest first, also of a deleted calendar. `before`: the version to go on before. */
export async function calendarVersions(
  database: Queryable,
  team: string,
  name: string,
  limit: number,
  before: number | null,
): Promise<CalendarVersion[]> {
  const { rows } = await database.query<{ version: string; document: CalendarDocument; changed_by: string; created_at: Date }>(
    `SELECT version, document, changed_by, created_at FROM calendar_versions
      WHERE team = $1 AND name = $2 AND ($4::bigint IS NULL OR version < $4) ORDER BY version DESC LIMIT $3`,
    [team, name, limit, before],
  );
  return rows.map((row) => ({
    version: Number(row.version),
    document: row.document,
    changedBy: row.changed_by,
    createdAt: row.created_at,
  }));
}

/** Some names of jobs that use a calendar, and how many there are. Run it after the lock, in a statement of its own. */
export async function calendarUsers(database: Queryable, team: string, name: string): Promise<{ count: number; names: string[] }> {
  const { rows } = await database.query<{ count: string; names: string[] | null }>(
    `WITH users AS (
       SELECT r.job_name FROM job_runtime r JOIN jobs j ON j.id = r.job_id AND j.deleted_at IS NULL
        WHERE r.team = $1 AND r.calendar_zone IS NOT NULL AND ($2 = ANY (r.include_calendars) OR $2 = ANY (r.exclude_calendars))
       UNION
       SELECT j.name FROM jobs j, json_array_elements(j.document #> '{schedule,calendar}') AS rule
        WHERE j.team = $1 AND (j.document #> '{schedule,calendar}') IS NOT NULL AND j.deleted_at IS NULL AND rule ->> 'holidays' = $2
     )
     SELECT (SELECT count(*) FROM users) AS count, ARRAY(SELECT job_name FROM users ORDER BY job_name LIMIT 5) AS names`,
    [team, name],
  );
  return { count: Number(rows[0]?.count ?? 0), names: rows[0]?.names ?? [] };
}

/** Zones in which a calendar's stretches are kept. */
export async function calendarZones(database: Queryable, team: string, name: string): Promise<string[]> {
  const { rows } = await database.query<{ zone: string }>(
    'SELECT zone FROM calendar_zones WHERE team = $1 AND calendar = $2 ORDER BY zone',
    [team, name],
  );
  return rows.map(({ zone }) => zone);
}
