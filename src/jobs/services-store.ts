/** Statements on services. */
import type { Queryable, Transaction } from '../postgres.ts';
import type { ServiceDocument, ServiceView } from './services-document.ts';

type ServiceRow = {
  id: string;
  name: string;
  description: string | null;
  base_url: string;
  headers: Record<string, string>;
  openapi_url: string | null;
  notify: ServiceDocument['notify'] | null;
  generation: string;
  created_by: string;
  created_at: Date;
  updated_at: Date;
};

const COLUMNS = 'id, name, description, base_url, headers, openapi_url, notify, generation, created_by, created_at, updated_at';

const toView = (row: ServiceRow): ServiceView => ({
  id: row.id,
  name: row.name,
  ...(row.description === null ? {} : { description: row.description }),
  baseUrl: row.base_url,
  headers: row.headers,
  ...(row.openapi_url === null ? {} : { openapiUrl: row.openapi_url }),
  ...(row.notify ? { notify: row.notify } : {}),
  generation: Number(row.generation),
  createdBy: row.created_by,
  createdAt: row.created_at.toISOString(),
  updatedAt: row.updated_at.toISOString(),
});

const values = (service: ServiceDocument): unknown[] => [
  service.name,
  service.description ?? null,
  service.baseUrl,
  JSON.stringify(service.headers),
  service.openapiUrl ?? null,
  service.notify ? JSON.stringify(service.notify) : null,
];

/** Inserts a service; null when the name is taken. */
export async function serviceInsert(
  database: Queryable,
  team: string,
  id: string,
  service: ServiceDocument,
  by: string,
): Promise<ServiceView | null> {
  const { rows } = await database.query<ServiceRow>(
    `INSERT INTO services (id, team, name, description, base_url, headers, openapi_url, notify, created_by) VALUES ($1, $2, $4, $5, $6, $7, $8, $9, $3)
     ON CONFLICT (team, name) DO NOTHING RETURNING ${COLUMNS}`,
    [id, team, by, ...values(service)],
  );
  return rows[0] ? toView(rows[0]) : null;
}

export async function serviceFind(database: Queryable, team: string, idOrName: string): Promise<ServiceView | null> {
  const { rows } = await database.query<ServiceRow>(`SELECT ${COLUMNS} FROM services WHERE team = $1 AND (id = $2 OR name = $2)`, [
    team,
    idOrName,
  ]);
  return rows[0] ? toView(rows[0]) : null;
}

/** The same, locked against changes, and against jobs that begin to name it, until the transaction ends. */
export async function serviceLock(tx: Transaction, team: string, idOrName: string): Promise<ServiceView | null> {
  const { rows } = await tx.query<ServiceRow>(`SELECT ${COLUMNS} FROM services WHERE team = $1 AND (id = $2 OR name = $2) FOR UPDATE`, [
    team,
    idOrName,
  ]);
  return rows[0] ? toView(rows[0]) : null;
}

/** Writes the next generation of a locked service. */
export async function serviceUpdate(tx: Transaction, team: string, id: string, service: ServiceDocument): Promise<ServiceView> {
  const { rows } = await tx.query<ServiceRow>(
    `UPDATE services SET name = $3, description = $4, base_url = $5, headers = $6, openapi_url = $7, notify = $8, generation = generation + 1, updated_at = clock_timestamp()
      WHERE id = $1 AND team = $2 RETURNING ${COLUMNS}`,
    [id, team, ...values(service)],
  );
  return toView(rows[0]!);
}

export async function serviceDelete(tx: Transaction, team: string, id: string): Promise<void> {
  await tx.query('DELETE FROM services WHERE id = $1 AND team = $2', [id, team]);
}

/** Some names of jobs that belong to a service or call it, and how many there are. Run it after the lock, in a statement of its own. */
export async function serviceUsers(tx: Transaction, team: string, name: string): Promise<{ count: number; names: string[] }> {
  const { rows } = await tx.query<{ name: string; count: number }>(
    `SELECT name, count(*) OVER ()::float8 AS count FROM jobs
      WHERE team = $1 AND deleted_at IS NULL AND (service = $2 OR document #>> '{target,service}' = $2) ORDER BY name LIMIT 5`,
    [team, name],
  );
  return { count: rows[0]?.count ?? 0, names: rows.map((row) => row.name) };
}

/** Services by name. @param after name of the last one seen. */
export async function servicesList(database: Queryable, team: string, limit: number, after: string | null): Promise<ServiceView[]> {
  const { rows } = await database.query<ServiceRow>(
    `SELECT ${COLUMNS} FROM services WHERE team = $1 AND ($3::text IS NULL OR name > $3) ORDER BY name LIMIT $2`,
    [team, limit, after],
  );
  return rows.map(toView);
}
