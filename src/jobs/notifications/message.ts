/** What a delivery says, whatever the channel: fixed when its gathering ends, so that every attempt says the same. */
import type { NotifyKind } from './notify-rules.ts';

export type MessageKind = NotifyKind | 'test';

/** One job of a message, by its last event. */
export type MessageJob = {
  id: string;
  name: string;
  at: string;
  slot: string | null;
  execution: string | null;
  /** Why, as far as the event tells. */
  reason: string | null;
  /** Path of the execution, or of the job. */
  link: string;
};

export type Message = {
  kind: MessageKind;
  team: string;
  channel: string;
  /** When the first and the last of its events happened. */
  from: string;
  to: string;
  events: number;
  jobCount: number;
  /** The first of them. */
  jobs: MessageJob[];
  /** Path of the list that shows them all. */
  link: string;
};

/** Jobs that a message names; the others are counted. */
export const JOBS_NAMED = 20;

const SAID: Record<MessageKind, { one: string; many: string }> = {
  failed: { one: 'failed', many: 'jobs failed' },
  failed_to_start: { one: 'could not be started', many: 'jobs could not be started' },
  missed: { one: 'has missed a run', many: 'jobs have missed runs' },
  late: { one: 'is late', many: 'jobs are late' },
  recovered: { one: 'works again', many: 'jobs work again' },
  paused: { one: 'is paused', many: 'jobs are paused' },
  succeeded: { one: 'succeeded', many: 'jobs succeeded' },
  interval_health: { one: 'hardly fits its interval', many: 'jobs hardly fit their intervals' },
  test: { one: 'a test of this channel', many: 'a test of this channel' },
};

/** The message in one sentence without a full stop. */
export function headline({ kind, jobs, jobCount, channel }: Message): string {
  if (kind === 'test') return `This is a test of the channel ${channel}`;
  return jobCount === 1 && jobs[0] ? `${jobs[0].name} ${SAID[kind].one}` : `${jobCount} ${SAID[kind].many}`;
}

/** Where all jobs of such a message are listed. @param from, to the times of its first and last event. */
export function listLink(kind: MessageKind, deliveryId: string, from: Date, to: Date): string {
  const query = (parameters: [string, string][]) => new URLSearchParams(parameters).toString();
  // an execution belongs to its slot, which may be a while before it ended
  const range: [string, string][] = [
    ['from', new Date(from.getTime() - 3_600_000).toISOString()],
    ['to', new Date(to.getTime() + 1_000).toISOString()],
  ];
  if (kind === 'failed') return `/api/v1/executions?${query([['status', 'failed'], ['status', 'timed_out'], ...range])}`;
  if (kind === 'succeeded') return `/api/v1/executions?${query([['status', 'succeeded'], ...range])}`;
  if (kind === 'missed') return `/api/v1/slots?${query([['outcome', 'missed'], ...range])}`;
  if (kind === 'paused') return '/api/v1/jobs?state=paused';
  if (kind === 'interval_health') return '/api/v1/schedule/health';
  return `/api/v1/deliveries/${deliveryId}`;
}
