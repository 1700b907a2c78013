/** How much a freeze holds, by what jobs are now: whole counts, since a freeze is looked at by few and holds many. */
import type { Queryable } from '../../postgres.ts';
import type { FreezeCover } from './freeze-store.ts';

/** Jobs shown of those that a freeze would hold. */
const SAMPLE = 20;

/** A row of freezes as the functions of the database take it, of which only the cover is looked at; made once, not for every job. Alias: c. */
const COVER = `(SELECT jsonb_populate_record(NULL::freezes, jsonb_build_object('team', $1::text, 'scope', $2::text, 'targets', to_jsonb($3::text[]))) AS freeze OFFSET 0) c`;
/** Alias: j jobs. */
const COVERED = `(j.team = $1 OR $2 = 'global') AND freeze_covers(c.freeze, j)`;

const values = ({ team, scope, targets }: FreezeCover): unknown[] => [team, scope, targets];

export async function jobsCovered(database: Queryable, cover: FreezeCover): Promise<number> {
  const { rows } = await database.query<{ count: number }>(
    `SELECT count(*)::float8 AS count FROM ${COVER} CROSS JOIN jobs j WHERE j.deleted_at IS NULL AND ${COVERED}`,
    values(cover),
  );
  return rows[0]!.count;
}

/** Some of those jobs by name: only of the caller's own team. */
export async function jobsCoveredSample(database: Queryable, cover: FreezeCover): Promise<{ id: string; name: string }[]> {
  const { rows } = await database.query<{ id: string; name: string }>(
    `SELECT j.id, j.name FROM ${COVER} CROSS JOIN jobs j WHERE j.team = $1 AND j.deleted_at IS NULL AND ${COVERED} ORDER BY j.name LIMIT $4`,
    [...values(cover), SAMPLE],
  );
  return rows;
}

/** Executions of those jobs that are under way: begun, and not ended. */
export async function executionsRunning(database: Queryable, cover: FreezeCover): Promise<number> {
  const { rows } = await database.query<{ count: number }>(
    `SELECT count(*)::float8 AS count FROM ${COVER} CROSS JOIN job_executions e JOIN jobs j ON j.id = e.job_id
      WHERE e.finished_at IS NULL AND e.status = 'running' AND NOT e.waiting AND ${COVERED}`,
    values(cover),
  );
  return rows[0]!.count;
}
