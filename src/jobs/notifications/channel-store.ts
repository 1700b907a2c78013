/** Statements on channels. Their secrets leave this file in the documents of those that send, and nowhere else. */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { ChannelDocument } from './channel-document.ts';
import { joinSecrets, splitSecrets } from './channel-secrets.ts';

export type StoredChannel = {
  id: string;
  team: string;
  /** With its secrets. */
  document: ChannelDocument;
  generation: number;
  createdBy: string;
  createdAt: Date;
  updatedAt: Date;
};

type ChannelRow = {
  id: string;
  team: string;
  settings: ChannelDocument;
  secrets: Record<string, string>;
  generation: string;
  created_by: string;
  created_at: Date;
  updated_at: Date;
};
const COLUMNS = 'id, team, settings, secrets, generation, created_by, created_at, updated_at';

const channelOf = (row: ChannelRow): StoredChannel => ({
  id: row.id,
  team: row.team,
  document: joinSecrets(row.settings, row.secrets),
  generation: Number(row.generation),
  createdBy: row.created_by,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

function values(document: ChannelDocument): unknown[] {
  const { settings, secrets } = splitSecrets(document);
  return [document.name, JSON.stringify(settings), JSON.stringify(secrets), document.mutedUntil ?? null];
}

/** Inserts a channel; null when the name is taken. */
export async function channelInsert(
  database: Queryable,
  team: string,
  id: string,
  document: ChannelDocument,
  by: string,
): Promise<StoredChannel | null> {
  const { rows } = await database.query<ChannelRow>(
    `INSERT INTO channels (id, team, type, created_by, name, settings, secrets, muted_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (team, name) DO NOTHING RETURNING ${COLUMNS}`,
    [id, team, document.type, by, ...values(document)],
  );
  return rows[0] ? channelOf(rows[0]) : null;
}

export async function channelFind(database: Queryable, team: string, idOrName: string): Promise<StoredChannel | null> {
  const { rows } = await database.query<ChannelRow>(`SELECT ${COLUMNS} FROM channels WHERE team = $1 AND (id = $2 OR name = $2)`, [
    team,
    idOrName,
  ]);
  return rows[0] ? channelOf(rows[0]) : null;
}

/** The same, locked against changes, and against rules that begin to name it, until the transaction ends. */
export async function channelLock(tx: Transaction, team: string, idOrName: string): Promise<StoredChannel | null> {
  const { rows } = await tx.query<ChannelRow>(
    `SELECT ${COLUMNS} FROM channels WHERE team = $1 AND (id = $2 OR name = $2) ORDER BY id FOR UPDATE`,
    [team, idOrName],
  );
  return rows[0] ? channelOf(rows[0]) : null;
}

/** Writes the next generation of a locked channel. What its quiet hours hold back is looked at anew. */
export async function channelUpdate(tx: Transaction, team: string, id: string, document: ChannelDocument): Promise<StoredChannel> {
  const { rows } = await tx.query<ChannelRow>(
    `UPDATE channels SET name = $3, settings = $4, secrets = $5, muted_until = $6, generation = generation + 1, updated_at = clock_timestamp()
      WHERE id = $1 AND team = $2 RETURNING ${COLUMNS}`,
    [id, team, ...values(document)],
  );
  await tx.query(
    `UPDATE deliveries SET due_at = clock_timestamp() WHERE channel_id = $1 AND team = $2 AND state IN ('gathering', 'waiting') AND reason = 'quiet_hours'`,
    [id, team],
  );
  return channelOf(rows[0]!);
}

/** Removes a locked channel; what was still to be sent to it is not. */
export async function channelDelete(tx: Transaction, team: string, id: string): Promise<void> {
  await tx.query(
    `UPDATE deliveries SET state = 'suppressed', reason = 'channel_deleted', finished_at = clock_timestamp(), claim = claim + 1
      WHERE channel_id = $1 AND team = $2 AND state IN ('gathering', 'waiting', 'sending')`,
    [id, team],
  );
  await tx.query('DELETE FROM open_alerts WHERE channel_id = $1 AND team = $2', [id, team]);
  await tx.query('DELETE FROM channels WHERE id = $1 AND team = $2', [id, team]);
}

/** Channels by name. @param after name of the last one seen. */
export async function channelsList(database: Queryable, team: string, limit: number, after: string | null): Promise<StoredChannel[]> {
  const { rows } = await database.query<ChannelRow>(
    `SELECT ${COLUMNS} FROM channels WHERE team = $1 AND ($3::text IS NULL OR name > $3) ORDER BY name LIMIT $2`,
    [team, limit, after],
  );
  return rows.map(channelOf);
}

export type ChannelUsers = { jobs: number; jobNames: string[]; services: string[]; team: boolean };

/** Who names a channel. Run it after the lock, in a statement of its own. */
export async function channelUsers(tx: Transaction, team: string, name: string): Promise<ChannelUsers> {
  const names = (rules: string) => `EXISTS (SELECT 1 FROM json_array_elements(${rules}) AS x (rule) WHERE x.rule ->> 'channel' = $2)`;
  const { rows } = await tx.query<{ jobs: number; job_names: string[]; services: string[]; team: boolean }>(
    `WITH users AS MATERIALIZED (
       SELECT j.name FROM jobs j
        WHERE j.team = $1 AND (j.document -> 'notify') IS NOT NULL AND j.deleted_at IS NULL AND ${names("j.document -> 'notify'")} ORDER BY j.name
     )
     SELECT (SELECT count(*)::float8 FROM users) AS jobs, ARRAY(SELECT u.name FROM users u ORDER BY u.name LIMIT 5) AS job_names,
            ARRAY(SELECT s.name FROM services s WHERE s.team = $1 AND s.notify IS NOT NULL AND ${names('s.notify')} ORDER BY s.name) AS services,
            EXISTS (SELECT 1 FROM team_notify t WHERE t.team = $1 AND ${names('t.rules')}) AS team`,
    [team, name],
  );
  const row = rows[0]!;
  return { jobs: row.jobs, jobNames: row.job_names, services: row.services, team: row.team };
}

/** Names and types of the channels of a team among those asked for, locked against removal when `lock` says so; and all names, to suggest one. */
export async function channelsNamed(
  database: Queryable,
  team: string,
  names: readonly string[],
  { lock }: { lock: boolean },
): Promise<Map<string, string>> {
  const { rows } = await database.query<{ name: string; type: string }>(
    `SELECT name, type FROM channels WHERE team = $1 AND name = ANY ($2::text[]) ORDER BY name ${lock ? 'FOR KEY SHARE' : ''}`,
    [team, names],
  );
  return new Map(rows.map((row) => [row.name, row.type]));
}

/** Some names, for the sentence that suggests one. */
export async function channelNames(database: Queryable, team: string): Promise<string[]> {
  const { rows } = await database.query<{ name: string }>('SELECT name FROM channels WHERE team = $1 ORDER BY name LIMIT 1000', [team]);
  return rows.map((row) => row.name);
}
