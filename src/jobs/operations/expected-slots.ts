/** Which slots a job should have had between two moments, and what became of them: what a backfill and a resume count by. */
import { setImmediate as yieldTurn } from 'node:timers/promises';
import type { Queryable } from '../../postgres.ts';
import { JobError } from '../errors.ts';
import { nextSlot, slotsBetween, type Window } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';
import { MOST_ITEMS } from './operation-store.ts';

/** Slots that are worked out at a stretch; others of the process have their turn between two. */
const STRETCH = 2_000;

/** Times in which one timing held; `to` is exclusive. */
type Stretch = { timing: Timing; from: Date; to: Date };
export type SlotRange = { from: Date; to: Date };
export type JobRange = SlotRange & { jobId: string };
export type JobSlot = { jobId: string; slot: Date };

/** The jobs' memberships in their ranges, with their timings: what their schedules were then. In the order of the ranges. */
async function stretchesOf(database: Queryable, team: string, ranges: readonly JobRange[]): Promise<Stretch[][]> {
  const { rows } = await database.query<Stretch & { position: number }>({
    name: 'timings-in-ranges',
    text: `SELECT u.position::integer, t.timing, greatest(m.valid_from, u.from_at) AS from, least(m.valid_to, u.to_at) AS to
             FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY AS u (job_id, from_at, to_at, position)
             JOIN clock_members m ON m.job_id = u.job_id AND m.team = $1 AND m.valid_from < u.to_at AND m.valid_to > u.from_at
             JOIN timings t ON t.hash = m.timing_hash
            ORDER BY u.position, m.valid_from`,
    values: [team, ranges.map((range) => range.jobId), ranges.map((range) => range.from), ranges.map((range) => range.to)],
  });
  const found: Stretch[][] = ranges.map(() => []);
  for (const { position, ...stretch } of rows) found[position - 1]!.push(stretch);
  return found;
}

/** Null when there are more than `most`. */
async function slotsOf(stretches: readonly Stretch[], most: number): Promise<Date[] | null> {
  const slots: Date[] = [];
  for (const { timing, from, to } of stretches) {
    // both ends of slotsBetween lie one millisecond before ours: from <= slot < to
    const end = new Date(to.getTime() - 1);
    for (let after = new Date(from.getTime() - 1); ; ) {
      const found = slotsBetween(timing, after, end, STRETCH);
      for (const slot of found) slots.push(slot);
      if (slots.length > most) return null;
      if (found.length < STRETCH) break;
      after = found.at(-1)!;
      await yieldTurn();
    }
  }
  return slots;
}

export const tooManySlots = (): JobError =>
  new JobError(
    'invalid',
    'too_many_slots',
    `There are more than ${MOST_ITEMS.toLocaleString('en')} slots between these times; take a shorter range, and several backfills if all are needed.`,
    {
      errors: [{ path: '/from', message: `has more than ${MOST_ITEMS} slots up to "to"; write a later time`, code: 'too_many_slots' }],
      extra: { most: MOST_ITEMS },
    },
  );

/** Slots with from <= slot < to that the job had by the schedules it had then, ascending. @throws JobError `invalid` when they are too many. */
export async function slotsOfMemberships(database: Queryable, team: string, jobId: string, range: SlotRange): Promise<Date[]> {
  const [slots = null] = await slotsOfManyMemberships(database, team, [{ jobId, ...range }], MOST_ITEMS);
  if (slots === null) throw tooManySlots();
  return slots;
}

/** The same of many jobs, in the order of the ranges; null where there are more than `most`. */
export async function slotsOfManyMemberships(
  database: Queryable,
  team: string,
  ranges: readonly JobRange[],
  most: number,
): Promise<(Date[] | null)[]> {
  const slots: (Date[] | null)[] = [];
  for (const stretches of await stretchesOf(database, team, ranges)) slots.push(await slotsOf(stretches, most));
  return slots;
}

/** Slots by one timing, whether the job had it then or not: a schedule's past before it was written. */
export async function slotsOfTiming(timing: Timing, { startAt, endAt }: Window, { from, to }: SlotRange): Promise<Date[]> {
  const first = startAt && startAt > from ? startAt : from;
  const last = endAt && endAt < to ? new Date(endAt.getTime() + 1) : to;
  if (first >= last || nextSlot(timing, new Date(first.getTime() - 1)) === null) return [];
  const slots = await slotsOf([{ timing, from: first, to: last }], MOST_ITEMS);
  if (slots === null) throw tooManySlots();
  return slots;
}

/**
 * What the ledger says of a slot. `ran`: an execution has served it, or is about to. A reason: it did not run because of that. Null: nothing is written of it, so that it is
 * still the scheduler's to deal with. `taken`: a backfill has started it, or will.
 */
type SlotFate = { fate: string | null };

const RANGE_REASONS_BY_RANK = `array_position(ARRAY['excluded', 'frozen', 'paused'], g.reason)`;
const FATES_AT_ONCE = 5_000;

/** The fates of one job's slots, in their order. */
export const fatesOf = (database: Queryable, team: string, jobId: string, slots: readonly Date[]): Promise<(string | null)[]> =>
  fatesOfMany(
    database,
    team,
    slots.map((slot) => ({ jobId, slot })),
  );

/** The same of the slots of many jobs. */
export async function fatesOfMany(database: Queryable, team: string, slots: readonly JobSlot[]): Promise<(string | null)[]> {
  const fates: (string | null)[] = [];
  for (let from = 0; from < slots.length; from += FATES_AT_ONCE) {
    const some = slots.slice(from, from + FATES_AT_ONCE);
    const { rows } = await database.query<SlotFate>({
      name: 'slot-fates',
      text: `SELECT CASE WHEN e.status <> 'skipped' THEN 'ran' WHEN t.there THEN 'taken' ELSE coalesce(e.reason, g.reason) END AS fate
               FROM unnest($2::text[], $3::timestamptz[]) WITH ORDINALITY AS s (job_id, slot, position)
               LEFT JOIN LATERAL (SELECT e.status, e.reason FROM job_executions e
                                   WHERE e.partition_at = s.slot AND e.id = s.job_id || '-' || slot_text(s.slot) AND e.team = $1 LIMIT 1) e ON true
               LEFT JOIN LATERAL (SELECT g.reason FROM slot_ranges g
                                   WHERE g.job_id = s.job_id AND g.team = $1 AND g.from_at <= s.slot AND (g.to_at IS NULL OR s.slot < g.to_at)
                                   ORDER BY ${RANGE_REASONS_BY_RANK} NULLS LAST LIMIT 1) g ON true
               LEFT JOIN LATERAL (SELECT true AS there FROM operation_items i
                                   WHERE i.job_id = s.job_id AND i.slot = s.slot AND i.team = $1 AND i.result IN ('pending', 'succeeded') LIMIT 1) t ON true
              ORDER BY s.position`,
      values: [team, some.map(({ jobId }) => jobId), some.map(({ slot }) => slot)],
    });
    for (const { fate } of rows) fates.push(fate);
  }
  return fates;
}
