/** The next times of a schedule before it is saved, from the same parsing, timing and oracle that fire it. */

import { isStopped, nextRunning, type StopRules } from '../calendars/slot-filter.ts';
import { type DstNote, dstNotes } from './dst.ts';
import { formatDuration } from './duration.ts';
import { formatInstant } from './instant.ts';
import { jitterOffsetS, spreadMs } from './jitter.ts';
import { markKind, marksOf, nextSlots, verdictOf, type Window } from './oracle.ts';
import type { Schedule } from './schedule-document.ts';
import { onceAt, type Timing, timingOf } from './timing.ts';
import { formatLocal } from './wall-time.ts';
import { zoneOf } from './zone.ts';

/**
 * One coming run. `slot` is the nominal time in UTC, `local` the same with the zone's offset; `due` is when it starts: the slot plus the job's own jitter offset.
 * `dst`: its wall time does not exist that day and it runs when the clocks have jumped, or its wall time comes twice that day.
 */
export type PreviewRun = { slot: string; local: string; due: string; dst?: 'shifted' | 'repeated' };
/** A slot that the schedule's `dst` leaves out. */
export type SkippedSlot = { slot: string; local: string; dst: 'skipped'; reason: 'dst_gap' | 'dst_repeat' };
/** A slot that does not run because of a calendar. */
export type ExcludedSlot = { slot: string; local: string; calendar: string };
export type PreviewWarning = DstNote | { kind: 'no_runs' | 'jitter' | 'calendar'; message: string };
export type Preview = {
  timezone: string;
  runs: PreviewRun[];
  /** Slots up to the last of the runs that do not run because clocks change, the first 100. */
  skipped: SkippedSlot[];
  /** Slots up to the last of the runs that calendars stop, the first 100. */
  excluded: ExcludedSlot[];
  /** This job's offset as a duration; null when there is jitter but no job yet to take it from. */
  jitterOffset: string | null;
  warnings: PreviewWarning[];
};

export const MOST_PREVIEWED = 1_000;

export type PreviewOptions = {
  /** Decides the jitter offset; without it `due` is the slot. */
  jobId?: string;
  /** Runs strictly after this moment. */
  from: Date;
  /** 1 to 1,000. */
  count: number;
  /** When the schedule came to be, for `delay` and `alignTo: creation`; default `from`. */
  createdAt?: Date;
  /** What the schedule's calendars stop; without it, none does. */
  rules?: StopRules | null;
};

const MOST_EXCLUDED = 100;
/** Looked through for those that do not run. */
const MOST_MARKS = 2_000;

/**
 * The next runs of a parsed schedule, with warnings for the days on which clocks change.
 * @throws RangeError when `count` is not a whole number from 1 to 1,000.
 */
export function previewSchedule(schedule: Schedule, { jobId, from, count, createdAt = from, rules = null }: PreviewOptions): Preview {
  if (!Number.isInteger(count) || count < 1 || count > MOST_PREVIEWED)
    throw new RangeError(`count must be 1 to ${MOST_PREVIEWED} (is ${count})`);
  const zone = zoneOf(schedule.timezone);
  const timing = timingOf(schedule, createdAt);
  const window = windowOf(schedule);
  const slots = timing ? nextRunning(timing, from, count, window, schedule.dst ?? {}, rules) : onceSlots(schedule, createdAt, from);
  const ended = slots.length === count ? slots.at(-1)! : (rules?.to ?? from);
  const jitterMs = spreadMs(schedule);
  const offsetS = jobId === undefined ? 0 : jitterOffsetS(jobId, jitterMs);
  return {
    timezone: schedule.timezone,
    runs: slots.map((slot) => ({
      slot: formatInstant(slot),
      local: formatLocal(slot.getTime() / 1_000, zone),
      due: formatInstant(new Date(slot.getTime() + offsetS * 1_000)),
      ...(timing ? dstOf(timing, slot) : {}),
    })),
    skipped: timing ? skippedSlots(timing, schedule, from, slots.at(-1), slots.length === count) : [],
    excluded: timing && rules ? excludedSlots(timing, from, ended, count, schedule, rules) : [],
    jitterOffset: jitterMs > 0 && jobId === undefined ? null : formatDuration(offsetS * 1_000),
    warnings: [
      ...(rules && timing ? calendarWarnings(timing, slots, count, window, rules) : emptyWarnings(schedule, slots)),
      ...jitterWarnings(jitterMs, jobId, slots),
      ...clockWarnings(schedule, timing, from, slots, count, window),
    ],
  };
}

/** The schedule's window as moments. */
export function windowOf({ startAt, endAt }: Schedule): Window {
  return { startAt: startAt === undefined ? null : new Date(startAt), endAt: endAt === undefined ? null : new Date(endAt) };
}

function onceSlots(schedule: Schedule, createdAt: Date, from: Date): Date[] {
  const at = onceAt(schedule, createdAt);
  // A delay of 0 is due at once, at the moment asked about.
  return at && (at > from || schedule.delay !== undefined) ? [at] : [];
}

function emptyWarnings(schedule: Schedule, slots: Date[]): PreviewWarning[] {
  if (slots.length > 0) return [];
  if (schedule.at !== undefined) return [{ kind: 'no_runs', message: `at ${schedule.at} is in the past; nothing will run` }];
  return [{ kind: 'no_runs', message: `no slot is left${schedule.endAt ? ` before endAt ${schedule.endAt}` : ''}; nothing will run` }];
}

function dstOf(timing: Timing, slot: Date): Pick<PreviewRun, 'dst'> {
  const kind = markKind(timing, slot);
  if (kind === null || kind === 'date' || kind === 'odd') return {};
  return { dst: kind === 'gap' ? 'shifted' : 'repeated' };
}

/** A list that ended early says nothing about later, unless the schedule itself has ended. */
function skippedSlots(timing: Timing, schedule: Schedule, from: Date, last: Date | undefined, isFull: boolean): SkippedSlot[] {
  const { startAt, endAt } = windowOf(schedule);
  const start = startAt && startAt > from ? new Date(startAt.getTime() - 1) : from;
  const until = isFull ? last : (endAt ?? last);
  if (!until) return [];
  const zone = zoneOf(schedule.timezone);
  return marksOf(timing, start, until, MOST_MARKS)
    .flatMap(({ slot, kind }) => {
      const reason = kind === 'odd' ? null : verdictOf(kind, schedule.dst ?? {});
      return reason
        ? [{ slot: formatInstant(slot), local: formatLocal(slot.getTime() / 1_000, zone), dst: 'skipped' as const, reason }]
        : [];
    })
    .slice(0, MOST_EXCLUDED);
}

function excludedSlots(timing: Timing, from: Date, until: Date, count: number, schedule: Schedule, rules: StopRules): ExcludedSlot[] {
  const zone = zoneOf(schedule.timezone);
  return nextSlots(timing, from, count + MOST_EXCLUDED, windowOf(schedule), schedule.dst)
    .filter((slot) => slot <= until)
    .flatMap((slot) => {
      const stop = isStopped(slot, rules);
      return stop ? [{ slot: formatInstant(slot), local: formatLocal(slot.getTime() / 1_000, zone), calendar: stop.calendar }] : [];
    })
    .slice(0, MOST_EXCLUDED);
}

/** Calendars are known for a year ahead: a short list says nothing about later. */
function calendarWarnings(timing: Timing, slots: Date[], count: number, window: Window, rules: StopRules): PreviewWarning[] {
  if (slots.length === count) return [];
  const [later] = nextSlots(timing, new Date(Math.max(rules.to.getTime() - 1, slots.at(-1)?.getTime() ?? 0)), 1, window);
  const until = formatInstant(rules.to);
  if (later) return [{ kind: 'calendar', message: `calendars are worked out up to ${until}; what runs behind it is not known yet` }];
  return slots.length > 0 ? [] : [{ kind: 'no_runs', message: 'every slot that is left is stopped by a calendar; nothing will run' }];
}

function jitterWarnings(jitterMs: number, jobId: string | undefined, slots: Date[]): PreviewWarning[] {
  if (jitterMs === 0) return [];
  const warnings: PreviewWarning[] = [];
  const text = formatDuration(jitterMs);
  if (jobId === undefined) {
    warnings.push({
      kind: 'jitter',
      message: `each job starts a fixed time within ${text} after its slot; which one is known when the job exists`,
    });
  }
  const closest = Math.min(...slots.slice(1).map((slot, index) => slot.getTime() - slots[index]!.getTime()));
  if (jitterMs >= closest)
    warnings.push({
      kind: 'jitter',
      message: `jitter ${text} is not shorter than the ${formatDuration(closest)} between two slots; a run can start after the next slot is due`,
    });
  return warnings;
}

/** A list that ended early is followed to the window's end: what a clock change dropped there would be missed otherwise. */
function clockWarnings(
  { dst }: Schedule,
  timing: Timing | null,
  from: Date,
  slots: Date[],
  count: number,
  { startAt, endAt }: Window,
): PreviewWarning[] {
  if (!timing) return [];
  const start = startAt && startAt > from ? startAt : from;
  const last = slots.at(-1) ?? start;
  return dstNotes(timing, start, slots.length < count && endAt && endAt > last ? endAt : last, dst);
}
