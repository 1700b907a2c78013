/** Statements on freezes. A global freeze belongs to the team that made it, and is seen by all: it holds their jobs too. */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { FreezeScope, FreezeState, FreezeView } from './freeze-document.ts';

export type StoredFreeze = {
  id: string;
  team: string;
  scope: FreezeScope;
  targets: string[];
  reason: string;
  from: Date;
  to: Date | null;
  drain: boolean;
  cancelRunning: boolean;
  state: FreezeState;
  version: number;
  createdBy: string;
  createdAt: Date;
  updatedAt: Date;
  endedAt: Date | null;
  endedBy: string | null;
  drainedAt: Date | null;
  settledAt: Date | null;
  /** Executions it has asked to stop. */
  cancelled: number;
};

/** What a freeze holds, before it has a row. */
export type FreezeCover = { team: string; scope: FreezeScope; targets: readonly string[] };

type FreezeRow = {
  id: string;
  team: string;
  scope: FreezeScope;
  targets: string[];
  reason: string;
  from_at: Date;
  to_at: Date | null;
  drain: boolean;
  cancel_running: boolean;
  state: FreezeState;
  version: string;
  created_by: string;
  created_at: Date;
  updated_at: Date;
  ended_at: Date | null;
  ended_by: string | null;
  drained_at: Date | null;
  settled_at: Date | null;
  cancelled: number;
};

const COLUMNS = `f.id, f.team, f.scope, f.targets, f.reason, f.from_at, f.to_at, f.drain, f.cancel_running, freeze_state(f, clock_timestamp()) AS state, f.version,
       f.created_by, f.created_at, f.updated_at, f.ended_at, f.ended_by, f.drained_at, f.settled_at, f.cancelled`;

const toStored = (row: FreezeRow): StoredFreeze => ({
  id: row.id,
  team: row.team,
  scope: row.scope,
  targets: row.targets,
  reason: row.reason,
  from: row.from_at,
  to: row.to_at,
  drain: row.drain,
  cancelRunning: row.cancel_running,
  state: row.state,
  version: Number(row.version),
  createdBy: row.created_by,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  endedAt: row.ended_at,
  endedBy: row.ended_by,
  drainedAt: row.drained_at,
  settledAt: row.settled_at,
  cancelled: row.cancelled,
});

export const freezeView = (freeze: StoredFreeze): FreezeView => ({
  id: freeze.id,
  team: freeze.team,
  scope: freeze.scope,
  targets: freeze.targets,
  reason: freeze.reason,
  from: freeze.from.toISOString(),
  to: freeze.to?.toISOString() ?? null,
  drain: freeze.drain,
  cancelRunning: freeze.cancelRunning,
  state: freeze.state,
  version: freeze.version,
  createdBy: freeze.createdBy,
  createdAt: freeze.createdAt.toISOString(),
  updatedAt: freeze.updatedAt.toISOString(),
  endedAt: (freeze.state === 'ended' ? (freeze.endedAt ?? freeze.to) : null)?.toISOString() ?? null,
  endedBy: freeze.endedBy,
  drainedAt: freeze.drainedAt?.toISOString() ?? null,
  settledAt: freeze.settledAt?.toISOString() ?? null,
});

/** The database's time, in whole milliseconds as documents have it. */
export async function databaseNow(database: Queryable): Promise<Date> {
  const { rows } = await database.query<{ now: Date }>(`SELECT date_trunc('milliseconds', clock_timestamp()) AS now`);
  return rows[0]!.now;
}

export async function freezeInsert(
  tx: Transaction,
  freeze: FreezeCover & { id: string; reason: string; from: Date; to: Date | null; drain: boolean; cancelRunning: boolean; by: string },
): Promise<StoredFreeze> {
  const { rows } = await tx.query<FreezeRow>(
    `INSERT INTO freezes AS f (id, team, scope, targets, reason, from_at, to_at, drain, cancel_running, created_by, created_at, updated_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp(), clock_timestamp()) RETURNING ${COLUMNS}`,
    [
      freeze.id,
      freeze.team,
      freeze.scope,
      freeze.targets,
      freeze.reason,
      freeze.from,
      freeze.to,
      freeze.drain,
      freeze.cancelRunning,
      freeze.by,
    ],
  );
  return toStored(rows[0]!);
}

/** One freeze that a team may see, or null. */
export async function freezeFind(database: Queryable, team: string, id: string): Promise<StoredFreeze | null> {
  const { rows } = await database.query<FreezeRow>(
    `SELECT ${COLUMNS} FROM freezes f WHERE f.id = $2 AND (f.team = $1 OR f.scope = 'global')`,
    [team, id],
  );
  return rows[0] ? toStored(rows[0]) : null;
}

/** The same, locked against every change until the transaction ends: also against being settled. */
export async function freezeLock(tx: Transaction, team: string, id: string): Promise<StoredFreeze | null> {
  const locked = await tx.query(`SELECT 1 FROM freezes f WHERE f.id = $2 AND (f.team = $1 OR f.scope = 'global') FOR UPDATE`, [team, id]);
  // what state it is in is asked after the wait for the lock
  return locked.rowCount === 1 ? freezeFind(tx, team, id) : null;
}

export async function freezeUpdate(
  tx: Transaction,
  team: string,
  id: string,
  changed: { reason: string; to: Date | null; endedAt: Date | null; endedBy: string | null },
): Promise<StoredFreeze> {
  const { rows } = await tx.query<FreezeRow>(
    `UPDATE freezes f SET reason = $3, to_at = $4, ended_at = $5, ended_by = $6, version = f.version + 1, updated_at = clock_timestamp()
      WHERE f.id = $2 AND f.team = $1 RETURNING ${COLUMNS}`,
    [team, id, changed.reason, changed.to, changed.endedAt, changed.endedBy],
  );
  return toStored(rows[0]!);
}

export async function freezeDelete(tx: Transaction, team: string, id: string): Promise<void> {
  await tx.query('DELETE FROM freezes WHERE id = $2 AND team = $1', [team, id]);
}

export type FreezeQuery = {
  state?: readonly FreezeState[] | undefined;
  scope?: FreezeScope | undefined;
  /** Id of a job that it holds, by what the job is now. */
  jobId?: string | undefined;
  limit: number;
  after?: FreezeKey | undefined;
};
/** Place in the list: when it begins, as Postgres writes it, and its id. */
export type FreezeKey = { from: string; id: string };

/** Freezes that a team may see, those that begin last first. */
export async function freezesList(
  database: Queryable,
  team: string,
  { state, scope, jobId, limit, after }: FreezeQuery,
): Promise<{ items: StoredFreeze[]; next: FreezeKey | null }> {
  const { rows } = await database.query<FreezeRow & { key: string }>(
    `SELECT ${COLUMNS}, f.from_at::text AS key FROM freezes f
      WHERE (f.team = $1 OR f.scope = 'global')
        AND ($2::text[] IS NULL OR freeze_state(f, clock_timestamp()) = ANY ($2))
        AND ($3::text IS NULL OR f.scope = $3)
        AND ($4::text IS NULL OR EXISTS (SELECT 1 FROM jobs j WHERE j.id = $4 AND j.team = $1 AND j.deleted_at IS NULL AND freeze_covers(f, j)))
        AND ($5::timestamptz IS NULL OR (f.from_at, f.id) < ($5, $6))
      ORDER BY f.from_at DESC, f.id DESC LIMIT $7`,
    [team, state ?? null, scope ?? null, jobId ?? null, after?.from ?? null, after?.id ?? null, limit + 1],
  );
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items: items.map(toStored), next: rows.length > limit && last ? { from: last.key, id: last.id } : null };
}
