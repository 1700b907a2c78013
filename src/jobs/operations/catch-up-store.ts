/** Statements by which the catch-ups of many jobs become the items of few operations. */
import type { Transaction } from '../../postgres.ts';
import { MOST_ITEMS } from './operation-store.ts';

/** What a backfill of many jobs says of itself: times are RFC 3339. */
export type AskedOfMany = { only: 'missed'; order: 'oldest' | 'newest'; jobs: number; from: string; to: string };
export type OpenCatchUp = { id: string; total: number; asked: AskedOfMany };

/** Of several that ask for the missed slots of the same jobs, each sees what the others have taken. In one order, so that nobody waits for whom he keeps waiting. */
export async function catchUpsLock(tx: Transaction, jobIds: readonly string[]): Promise<void> {
  await tx.query({
    name: 'backfills-lock',
    text: `SELECT pg_advisory_xact_lock(k.key) FROM (
             SELECT hashtextextended('backfill-' || u.id, 0) AS key FROM unnest($1::text[]) AS u (id) ORDER BY 1 OFFSET 0) k`,
    values: [jobIds],
  });
}

/**
 * The unfinished backfill of an origin that has room for more, locked. One that is being worked on at the moment is passed over: whoever works on it holds its row and waits for
 * jobs, while the caller holds jobs.
 */
export async function catchUpOpen(tx: Transaction, team: string, origin: string): Promise<OpenCatchUp | null> {
  const { rows } = await tx.query<OpenCatchUp>({
    name: 'catch-up-open',
    text: `SELECT o.id, o.total, o.asked FROM operations o
            WHERE o.origin = $2 AND o.team = $1 AND o.kind = 'backfill' AND o.finished_at IS NULL AND o.total < ${MOST_ITEMS} LIMIT 1 FOR UPDATE SKIP LOCKED`,
    values: [team, origin],
  });
  return rows[0] ?? null;
}

/** It has come to have so many items, of these jobs and times. */
export async function catchUpGrow(tx: Transaction, team: string, id: string, total: number, asked: AskedOfMany): Promise<void> {
  await tx.query({
    name: 'catch-up-grow',
    text: 'UPDATE operations SET total = $3, asked = $4 WHERE id = $2 AND team = $1',
    values: [team, id, total, JSON.stringify(asked)],
  });
}

/** One event per job. */
export async function catchUpsAudit(
  tx: Transaction,
  actor: { team: string; name: string; requestId: string },
  started: readonly { jobId: string; after: unknown }[],
): Promise<void> {
  await tx.query({
    name: 'catch-ups-audit',
    text: `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after, request_id)
           SELECT $1, $2, 'job.backfill_started', 'job', a.job_id, a.after::json, $3 FROM unnest($4::text[], $5::text[]) AS a (job_id, after)`,
    values: [actor.team, actor.name, actor.requestId, started.map(({ jobId }) => jobId), started.map(({ after }) => JSON.stringify(after))],
  });
}
