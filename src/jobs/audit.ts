/** The trail of every change: who did what to which thing, with the thing before and after. Rows are only ever added. */
import type { Queryable } from '../postgres.ts';
import type { Caller } from './caller.ts';

export type AuditEvent = {
  /** `job.created`, `job.paused`, `service.updated`, … */
  action: string;
  subjectKind: 'job' | 'service' | 'calendar' | 'freeze' | 'operation' | 'channel' | 'notification_rules';
  subjectId: string;
  before?: unknown;
  after?: unknown;
};

/** Adds one event; call it in the transaction of the change itself, so that there is never one without the other. */
export async function auditInsert(
  database: Queryable,
  caller: Pick<Caller, 'team' | 'name' | 'requestId'>,
  event: AuditEvent,
): Promise<void> {
  await database.query({
    name: 'audit-insert',
    text: `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, before, after, request_id)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    values: [
      caller.team,
      caller.name,
      event.action,
      event.subjectKind,
      event.subjectId,
      event.before === undefined ? null : JSON.stringify(event.before),
      event.after === undefined ? null : JSON.stringify(event.after),
      caller.requestId,
    ],
  });
}
