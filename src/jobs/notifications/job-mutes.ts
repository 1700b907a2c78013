/** Use cases on the mute of a job: for a while nobody is told of it. Set by people like a pause, no part of the definition, so that no file takes it back. */
import { z } from 'zod';
import { inTransaction, type Pool, type Queryable } from '../../postgres.ts';
import { auditInsert } from '../audit.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import { jobNotFound } from '../job-errors.ts';
import { strictShape } from '../job-issues.ts';
import { jobFindId } from '../job-store.ts';
import { instantSchema } from '../time/instant.ts';

export const muteSchema = strictShape(
  {
    until: instantSchema.meta({ description: 'Nobody is told of the job before this time' }),
    reason: z.string({ error: 'must be a string' }).max(1_000, 'has more than 1,000 characters').optional(),
  },
  'until and reason',
).meta({ id: 'MuteJob' });

export type JobMute = { jobId: string; mutedUntil: string | null; reason: string | null; mutedBy: string | null; mutedAt: string | null };
export type JobMutes = ReturnType<typeof createJobMutes>;

export function createJobMutes({ pool }: { pool: Pool }) {
  async function idOf(database: Queryable, caller: Caller, idOrName: string): Promise<string> {
    const id = await jobFindId(database, caller.team, idOrName);
    if (id === null) throw jobNotFound(idOrName);
    return id;
  }

  return {
    /** Nulls when it is not muted, or no more. */
    get: async (caller: Caller, idOrName: string): Promise<JobMute> => muteOf(pool, caller.team, await idOf(pool, caller, idOrName)),

    /** @throws JobError `not_found`; `invalid` for a time that is past. */
    mute: (caller: Caller, idOrName: string, { until, reason }: { until: string; reason?: string | undefined }): Promise<JobMute> =>
      inTransaction(pool, async (tx) => {
        const jobId = await idOf(tx, caller, idOrName);
        if (Date.parse(until) <= Date.now()) throw inThePast(until);
        const before = await muteOf(tx, caller.team, jobId);
        await tx.query(
          `INSERT INTO job_mutes (job_id, team, muted_until, reason, muted_by) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (job_id) DO UPDATE SET muted_until = excluded.muted_until, reason = excluded.reason, muted_by = excluded.muted_by, muted_at = now()`,
          [jobId, caller.team, until, reason ?? null, caller.name],
        );
        const after = await muteOf(tx, caller.team, jobId);
        await auditInsert(tx, caller, { action: 'job.muted', subjectKind: 'job', subjectId: jobId, before, after });
        return after;
      }),

    unmute: (caller: Caller, idOrName: string): Promise<JobMute> =>
      inTransaction(pool, async (tx) => {
        const jobId = await idOf(tx, caller, idOrName);
        const before = await muteOf(tx, caller.team, jobId);
        await tx.query('DELETE FROM job_mutes WHERE job_id = $1 AND team = $2', [jobId, caller.team]);
        const after = await muteOf(tx, caller.team, jobId);
        if (before.mutedUntil !== null)
          await auditInsert(tx, caller, { action: 'job.unmuted', subjectKind: 'job', subjectId: jobId, before, after });
        return after;
      }),
  };
}

async function muteOf(database: Queryable, team: string, jobId: string): Promise<JobMute> {
  const { rows } = await database.query<{ muted_until: Date; reason: string | null; muted_by: string; muted_at: Date }>(
    'SELECT muted_until, reason, muted_by, muted_at FROM job_mutes WHERE job_id = $1 AND team = $2 AND muted_until > now()',
    [jobId, team],
  );
  const [row] = rows;
  return {
    jobId,
    mutedUntil: row?.muted_until.toISOString() ?? null,
    reason: row?.reason ?? null,
    mutedBy: row?.muted_by ?? null,
    mutedAt: row?.muted_at.toISOString() ?? null,
  };
}

const inThePast = (until: string): JobError =>
  new JobError('invalid', 'invalid_mute', `until ${until} is in the past; write a later time, or DELETE the mute.`, {
    errors: [{ path: '/until', message: `${until} is in the past; write a later time`, code: 'in_the_past' }],
  });
