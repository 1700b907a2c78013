/** What follows from a document: its kind, its queue, its timing, and when it runs next. Nothing here reads the database. */
import type { JobDocument } from './job-document.ts';
import { jitterOffsetS, spreadMs } from './time/jitter.ts';
import { type DstPolicy, nextSlots, type Window } from './time/oracle.ts';
import { onceAt, type Timing, timingHash, timingOf } from './time/timing.ts';

export type JobState = 'active' | 'paused' | 'disabled' | 'finished' | 'on_demand' | 'deleting';

/** Which queue a category runs on: the queue's name, `default` for a category without one. */
export type QueueOf = (category: string | undefined) => string;

/**
 * Reads the setting CATEGORY_QUEUES.
 * @param pairs `category=queue` texts.
 * @throws Error naming the pair that can't be read.
 */
export function queueRouting(pairs: readonly string[]): QueueOf {
  const queues = new Map(
    pairs.map((pair) => {
      const [, category, queue] = /^([^=]+)=([A-Za-z0-9][A-Za-z0-9._-]{0,99})$/.exec(pair) ?? [];
      if (!category || !queue) throw new Error(`CATEGORY_QUEUES: ${JSON.stringify(pair)} is not category=queue`);
      return [category.trim(), queue] as const;
    }),
  );
  return (category) => (category === undefined ? 'default' : (queues.get(category) ?? 'default'));
}

/** The queues that work may be sent to: those of CATEGORY_QUEUES, and `default`. */
export const queueNames = (pairs: readonly string[]): string[] => [
  ...new Set(['default', ...pairs.map((pair) => pair.slice(pair.lastIndexOf('=') + 1))]),
];

export type JobFacts = {
  /** `scheduled`: has a clock. `once`: a single run at a fixed time. */
  kind: 'scheduled' | 'once' | 'on_demand';
  queue: string;
  timing: Timing | null;
  timingHash: string | null;
  window: Window;
  /** What it runs on days when clocks change. */
  dst: DstPolicy;
  /** Seconds between a slot and its call. */
  offsetS: number;
};

/** @param createdAt of the job; `alignTo: creation` counts from it. */
export function factsOf(document: JobDocument, jobId: string, createdAt: Date, queueOf: QueueOf): JobFacts {
  const { schedule } = document;
  const queue = queueOf(document.category);
  const timing = schedule ? timingOf(schedule, createdAt) : null;
  return {
    kind: timing ? 'scheduled' : schedule ? 'once' : 'on_demand',
    queue,
    timing,
    timingHash: timing ? timingHash(timing, queue, document.team) : null,
    window: windowOf(schedule),
    dst: schedule?.dst ?? {},
    offsetS: schedule === undefined ? 0 : jitterOffsetS(jobId, spreadMs(schedule)),
  };
}

/** Between which times a schedule has slots. */
export const windowOf = (schedule: JobDocument['schedule']): Window => ({
  startAt: dateOf(schedule?.startAt),
  endAt: dateOf(schedule?.endAt),
});

const dateOf = (text: string | undefined): Date | null => (text === undefined ? null : new Date(text));

/** The next `count` slots of a job with a clock after a moment, within its window, under its policy for days when clocks change. */
export const upcomingSlots = (facts: JobFacts, after: Date, count: number): Date[] =>
  facts.timing ? nextSlots(facts.timing, after, count, facts.window, facts.dst) : [];

/** When a one-off is due; a delay counts from the write that set it. Null for every other kind. */
export const onceDue = (document: JobDocument, writtenAt: Date): Date | null =>
  document.schedule ? onceAt(document.schedule, writtenAt) : null;

/** Slots up to `endAt` itself belong to the job, so its membership ends just after it. */
export const membershipEnd = (window: Window): Date | null => (window.endAt ? new Date(window.endAt.getTime() + 1) : null);

/** @param hasNextRun a slot ahead, or a one-off that is still to run. */
export function stateOf(
  kind: JobFacts['kind'],
  { enabled, paused, hasNextRun }: { enabled: boolean; paused: boolean; hasNextRun: boolean },
): JobState {
  if (!enabled) return 'disabled';
  if (kind !== 'on_demand' && !hasNextRun) return 'finished';
  if (paused) return 'paused';
  return kind === 'on_demand' ? 'on_demand' : 'active';
}
