/** A call of a handler as a quarantine takes it. */
import type { QuarantinedCall } from '../../src/activities/quarantine/quarantine-messages.ts';

export const quarantinedCall = (handler: string, input: unknown = null, own: Partial<QuarantinedCall> = {}): QuarantinedCall => ({
  target: { type: 'handler', name: handler },
  service: null,
  nonRetryable: [],
  executionId: 'job_0199-2026-11-21T00:00:00Z',
  slot: '2026-11-21T00:00:00Z',
  dueAt: '2026-11-21T00:00:00Z',
  attempt: 3,
  maxAttempts: 3,
  job: { id: 'job_0199', name: 'nightly', team: 'default' },
  input,
  timeoutMs: 10_000,
  ...own,
});
