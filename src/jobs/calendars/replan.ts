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
import { timingOf } from '../time/timing.ts';
import type { CalendarDocument } from './calendar-document.ts';
import { calendarSpans } from './days.ts';
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
      const { before, after } = await runsOf(user, schedule.timezone);
      // one at least: whether a job changes is always said
      const budget = Math.min(MOST_PER_JOB, Math.max(1, MOST_SLOTS - replan.added - replan.removed));
      const slotsIn = (spans: readonly Span[]) => {
        const slots: Date[] = [];
        let asked = 0;
        for (const span of spans) {
          const found = slotsBetween(timing, new Date(span.fromS * 1_000 - 1), new Date(span.toS * 1_000 - 1), budget + 1 - asked);
          asked += found.length;
          slots.push(
            ...found.filter((slot) => isInWindow(slot, windowOf(schedule)) && runsUnder(timing, slot, schedule.dst ?? {}) === null),
          );
          if (asked > budget) break;
        }
        return { slots: slots.slice(0, budget), complete: asked <= budget };
      };
      const added = slotsIn(without(after, before));
      const removed = slotsIn(without(before, after));
      difference = {
        added: added.slots.length,
        addedSlots: added.slots.slice(0, SHOWN_SLOTS).map(formatInstant),
        removed: removed.slots.length,
        removedSlots: removed.slots.slice(0, SHOWN_SLOTS).map(formatInstant),
        complete: added.complete && removed.complete,
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

/** The stretches in which a job's slots run, with the calendar as it is and as it would be; each combination of calendars is worked out once. */
function createRuns(database: Queryable, team: string, document: CalendarDocument, fromS: number, toS: number) {
  const known = new Map<string, Promise<{ before: Span[]; after: Span[] }>>();
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
      WHERE r.team = $1 AND r.calendar_zone IS NOT NULL AND ($2 = ANY (r.include_calendars) OR $2 = ANY (r.exclude_calendars))
      ORDER BY r.job_name`,
    [team, name],
  );
  return rows;
}
