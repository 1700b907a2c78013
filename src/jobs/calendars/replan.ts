/**
 * What a change of a calendar would do to the jobs that use it: which of their slots would run that do not now, and the other way round. Only the stretches that differ are
 * looked at, and jobs that mean the same are worked out once, so that ten thousand of them cost a second.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Queryable } from '../../postgres.ts';
import { formatInstant } from '../time/instant.ts';
import { isInWindow, runsUnder, slotsBetween } from '../time/oracle.ts';
import { windowOf } from '../time/preview.ts';
import type { Schedule } from '../time/schedule-document.ts';
import { type Timing, timingOf } from '../time/timing.ts';
import type { CalendarDocument } from './calendar-document.ts';
import { calendarSpans } from './days.ts';
import { holidayPlaces, withHolidayDates } from './holiday-dates.ts';
import { calendarStops } from './slot-filter.ts';
import { clipped, merged, type Span, without } from './spans.ts';

const DAY_S = 86_400;
/** So far ahead changes are shown. */
export const REPLAN_DAYS = 90;
/** Slots are counted up to here per job, and job by job up to there altogether. */
const MOST_PER_JOB = 1_000;
const MOST_SLOTS = 200_000;
const MOST_ITEMS = 100;
const SHOWN_SLOTS = 5;
const TURN_MS = 10;

export type ReplanItem = {
  jobId: string;
  jobName: string;
  /** How many slots begin to run, at most 1,000, and the first of them. */
  added: number;
  addedSlots: string[];
  removed: number;
  removedSlots: string[];
};
export type Replan = {
  /** The look goes so far, RFC 3339. */
  until: string;
  /** Jobs that use the calendar, those that change, and their slots altogether. */
  jobs: number;
  affectedJobs: number;
  added: number;
  removed: number;
  /** False: there are more slots than were counted. */
  complete: boolean;
  /** The first hundred jobs that change. */
  items: ReplanItem[];
};

type UserRow = {
  job_id: string;
  job_name: string;
  schedule: Schedule | null;
  created_at: Date;
  include_calendars: string[] | null;
  exclude_calendars: string[] | null;
};

type Difference = Pick<ReplanItem, 'added' | 'addedSlots' | 'removed' | 'removedSlots'> & { complete: boolean };

/** What saving `document` over the calendar of its name would change between `now` and 90 days later. Nothing is written. */
export async function replanOf(database: Queryable, team: string, document: CalendarDocument, now: Date): Promise<Replan> {
  const fromS = Math.ceil(now.getTime() / 1_000);
  const toS = fromS + REPLAN_DAYS * DAY_S;
  const users = await usersOf(database, team, document.name);
  const replan: Replan = {
    until: formatInstant(new Date(toS * 1_000)),
    jobs: users.length,
    affectedJobs: 0,
    added: 0,
    removed: 0,
    complete: true,
    items: [],
  };
  const runsOf = createRuns(database, team, document, fromS, toS);
  const known = new Map<string, Difference>();
  const redated = async (schedule: Schedule): Promise<Schedule> =>
    (await withHolidayDates(database, team, { schedule }, now, stopsWith(document))).schedule!;
  let turnAt = performance.now();
  for (const user of users) {
    const { schedule } = user;
    const timing = schedule && timingOf(schedule, user.created_at);
    if (!schedule || !timing) continue;
    const key = JSON.stringify([
      timing,
      schedule.startAt,
      schedule.endAt,
      schedule.dst,
      user.include_calendars,
      user.exclude_calendars,
      schedule.timezone,
    ]);
    let difference = known.get(key);
    if (!difference) {
      const runs = await runsOf(user, schedule.timezone);
      // one at least: whether a job changes is always said
      const budget = Math.min(MOST_PER_JOB, Math.max(1, MOST_SLOTS - replan.added - replan.removed));
      const counts = holidayPlaces(schedule).some(({ name }) => name === document.name)
        ? otherDays(schedule, await redated(schedule), user.created_at, runs, budget)
        : otherStretches(schedule, timing, runs, budget);
      difference = {
        added: counts.added.slots.length,
        addedSlots: counts.added.slots.slice(0, SHOWN_SLOTS).map(formatInstant),
        removed: counts.removed.slots.length,
        removedSlots: counts.removed.slots.slice(0, SHOWN_SLOTS).map(formatInstant),
        complete: counts.added.complete && counts.removed.complete,
      };
      known.set(key, difference);
    }
    const { complete, ...item } = difference;
    replan.complete &&= complete;
    replan.added += item.added;
    replan.removed += item.removed;
    if (item.added + item.removed > 0) {
      replan.affectedJobs += 1;
      if (replan.items.length < MOST_ITEMS) replan.items.push({ jobId: user.job_id, jobName: user.job_name, ...item });
    }
    if (performance.now() < turnAt + TURN_MS) continue;
    await nextTurn();
    turnAt = performance.now();
  }
  return replan;
}

type Runs = { before: Span[]; after: Span[] };
type Counted = { slots: Date[]; complete: boolean };

/** Slots within stretches that the schedule's own window and choice for changes of clocks leave. */
function slotsIn(schedule: Schedule, timing: Timing, spans: readonly Span[], most: number): Counted {
  const slots: Date[] = [];
  let asked = 0;
  for (const span of spans) {
    const found = slotsBetween(timing, new Date(span.fromS * 1_000 - 1), new Date(span.toS * 1_000 - 1), most + 1 - asked);
    asked += found.length;
    slots.push(...found.filter((slot) => isInWindow(slot, windowOf(schedule)) && runsUnder(timing, slot, schedule.dst ?? {}) === null));
    if (asked > most) break;
  }
  return { slots: slots.slice(0, most), complete: asked <= most };
}

/** Of a job whose slots stay where they are: only the stretches that differ are looked at. */
const otherStretches = (schedule: Schedule, timing: Timing, { before, after }: Runs, most: number) => ({
  added: slotsIn(schedule, timing, without(after, before), most),
  removed: slotsIn(schedule, timing, without(before, after), most),
});

/** Of a job whose days are counted by the calendar: its slots before and after, held against each other. */
function otherDays(schedule: Schedule, next: Schedule, createdAt: Date, { before, after }: Runs, most: number) {
  const was = slotsIn(schedule, timingOf(schedule, createdAt)!, before, most);
  const willBe = slotsIn(next, timingOf(next, createdAt)!, after, most);
  const minus = (from: Counted, other: Counted): Counted => {
    const known = new Set(other.slots.map((slot) => slot.getTime()));
    return { slots: from.slots.filter((slot) => !known.has(slot.getTime())), complete: from.complete && other.complete };
  };
  return { added: minus(willBe, was), removed: minus(was, willBe) };
}

/** The stretches in which a job's slots run, with the calendar as it is and as it would be; each combination of calendars is worked out once. */
function createRuns(database: Queryable, team: string, document: CalendarDocument, fromS: number, toS: number) {
  const known = new Map<string, Promise<Runs>>();
  const everything = [{ fromS, toS }];

  const runs = (user: UserRow, spans: ReadonlyMap<string, Span[]>): Span[] => {
    const of = (names: readonly string[]) => clipped(merged(names.flatMap((name) => spans.get(name) ?? [])), fromS, toS);
    const included = user.include_calendars === null ? everything : of(user.include_calendars);
    return without(included, of(user.exclude_calendars ?? []));
  };
  const work = async (user: UserRow, timezone: string) => {
    const names = [...(user.include_calendars ?? []), ...(user.exclude_calendars ?? [])];
    const before = await calendarStops(database, team, names, timezone, new Date(fromS * 1_000), new Date(toS * 1_000));
    const after = new Map(before).set(document.name, await calendarSpans(document, timezone, fromS, toS));
    return { before: runs(user, before), after: runs(user, after) };
  };

  return (user: UserRow, timezone: string) => {
    const key = JSON.stringify([user.include_calendars, user.exclude_calendars, timezone]);
    const found = known.get(key) ?? work(user, timezone);
    known.set(key, found);
    return found;
  };
}

async function usersOf(database: Queryable, team: string, name: string): Promise<UserRow[]> {
  const { rows } = await database.query<UserRow>(
    `SELECT r.job_id, r.job_name, CASE WHEN r.enabled THEN j.document -> 'schedule' END AS schedule, j.created_at, r.include_calendars, r.exclude_calendars
       FROM job_runtime r JOIN jobs j ON j.id = r.job_id AND j.deleted_at IS NULL
      WHERE r.team = $1 AND r.job_id IN (
        SELECT u.job_id FROM job_runtime u
         WHERE u.team = $1 AND u.calendar_zone IS NOT NULL AND ($2 = ANY (u.include_calendars) OR $2 = ANY (u.exclude_calendars))
        UNION
        SELECT d.id FROM jobs d, json_array_elements(d.document #> '{schedule,calendar}') AS rule
         WHERE d.team = $1 AND (d.document #> '{schedule,calendar}') IS NOT NULL AND d.deleted_at IS NULL AND rule ->> 'holidays' = $2)
      ORDER BY r.job_name`,
    [team, name],
  );
  return rows;
}

/** The stretches of calendars as they would be if `document` were saved. */
const stopsWith =
  (document: CalendarDocument): typeof calendarStops =>
  async (database, team, names, timezone, from, to) =>
    new Map(await calendarStops(database, team, names, timezone, from, to)).set(
      document.name,
      await calendarSpans(document, timezone, Math.floor(from.getTime() / 1_000), Math.ceil(to.getTime() / 1_000)),
    );
