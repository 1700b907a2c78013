/** Asks the real Temporal server which times a timing has: a paused schedule per timing, then `ListScheduleMatchingTimes`. */
import { randomUUID } from 'node:crypto';
import type { Client } from '@temporalio/client';
import { marksOf, nextSlot } from '../../../src/jobs/time/oracle.ts';
import { toTemporalSpec } from '../../../src/jobs/time/temporal-spec.ts';
import type { Timing } from '../../../src/jobs/time/timing.ts';

/** The server answers with at most so many times. */
export const MOST_TIMES = 1_000;

/** The extras of a timing after `from` up to `to` (epoch seconds), or to the last time that the server will answer with. */
function extrasBetween(timing: Timing, from: number, to: number): number[] {
  const times = oracleTimes(timing, from, to);
  const end = times.length === MOST_TIMES ? times.at(-1)! : to;
  return marksOf(timing, new Date(from * 1_000), new Date(end * 1_000))
    .filter((mark) => !mark.fired)
    .map((mark) => mark.slot.getTime() / 1_000);
}

/** Creates a paused schedule that mirrors the timing and never starts anything; returns its handle. Delete it after use. */
export function mirror(client: Client, timing: Timing, from: number, to: number, extras = extrasBetween(timing, from, to)) {
  return client.schedule.create({
    scheduleId: `oracle-${randomUUID()}`,
    spec: toTemporalSpec(timing, extras),
    action: { type: 'startWorkflow', workflowType: 'neverStarted', taskQueue: 'nobody-listens', args: [] },
    state: { paused: true },
  });
}

/** The server's times after `from` up to `to`, in epoch seconds. */
export async function serverTimes(client: Client, scheduleId: string, from: number, to: number): Promise<number[]> {
  const { startTime } = await client.workflowService.listScheduleMatchingTimes({
    namespace: client.options.namespace,
    scheduleId,
    startTime: { seconds: longOf(from) },
    endTime: { seconds: longOf(to) },
  });
  const times = (startTime ?? []).map((time) => Number(time.seconds ?? 0));
  // Where a zone leaves out a whole day the server can go back in time and repeat itself for ever; it means nothing from there on.
  const back = times.findIndex((time, index) => time <= (times[index - 1] ?? Number.NEGATIVE_INFINITY));
  return back < 0 ? times : times.slice(0, back);
}

/** Ours for the same question, without the window between two slots being cut. */
export function oracleTimes(timing: Timing, from: number, to: number): number[] {
  const times: number[] = [];
  for (
    let at = nextSlot(timing, new Date(from * 1000));
    at && at.getTime() / 1000 <= to && times.length < MOST_TIMES;
    at = nextSlot(timing, at)
  ) {
    times.push(at.getTime() / 1000);
  }
  return times;
}

/** Where the two lists part, as a sentence; null when they are equal. */
export function firstDifference(ours: readonly number[], theirs: readonly number[]): string | null {
  const length = Math.max(ours.length, theirs.length);
  for (let index = 0; index < length; index += 1) {
    if (ours[index] !== theirs[index])
      return `time ${index + 1} of ${ours.length}/${theirs.length}: ours ${iso(ours[index])}, the server's ${iso(theirs[index])}`;
  }
  return null;
}

const iso = (epochS: number | undefined) => (epochS === undefined ? 'none' : new Date(epochS * 1000).toISOString());
type Seconds = NonNullable<NonNullable<Parameters<Client['workflowService']['listScheduleMatchingTimes']>[0]['startTime']>['seconds']>;
/** protobuf.js takes a plain number where its types say Long. */
const longOf = (epochS: number) => epochS as unknown as Seconds;
