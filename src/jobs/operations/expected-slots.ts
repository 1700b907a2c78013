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

/** The job's memberships between two moments, with their timings: what its schedule was then. */
async function stretchesOf(database: Queryable, team: string, jobId: string, { from, to }: SlotRange): Promise<Stretch[]> {
  const { rows } = await database.query<Stretch>({
    name: 'timings-between',
    text: `SELECT t.timing, greatest(m.valid_from, $3) AS from, least(m.valid_to, $4) AS to
             FROM clock_members m JOIN timings t ON t.hash = m.timing_hash
            WHERE m.job_id = $1 AND m.team = $2 AND m.valid_from < $4 AND m.valid_to > $3
            ORDER BY m.valid_from`,
    values: [jobId, team, from, to],
  });
  return rows;
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
  const slots = await slotsOfMembershipsUpTo(database, team, jobId, range, MOST_ITEMS);
  if (slots === null) throw tooManySlots();
  return slots;
}

/** The same; null when there are more than `most`. */
export async function slotsOfMembershipsUpTo(
  database: Queryable,
  team: string,
  jobId: string,
  range: SlotRange,
  most: number,
): Promise<Date[] | null> {
  return await slotsOf(await stretchesOf(database, team, jobId, range), most);
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

/** The fates of slots, in their order. */
export async function fatesOf(database: Queryable, team: string, jobId: string, slots: readonly Date[]): Promise<(string | null)[]> {
  const fates: (string | null)[] = [];
  for (let from = 0; from < slots.length; from += FATES_AT_ONCE) {
    const { rows } = await database.query<SlotFate>({
      name: 'slot-fates',
      text: `SELECT CASE WHEN e.status <> 'skipped' THEN 'ran' WHEN t.there THEN 'taken' ELSE coalesce(e.reason, g.reason) END AS fate
               FROM unnest($3::timestamptz[]) WITH ORDINALITY AS s (slot, position)
               LEFT JOIN LATERAL (SELECT e.status, e.reason FROM job_executions e
                                   WHERE e.partition_at = s.slot AND e.id = $2 || '-' || slot_text(s.slot) AND e.team = $1 LIMIT 1) e ON true
               LEFT JOIN LATERAL (SELECT g.reason FROM slot_ranges g
                                   WHERE g.job_id = $2 AND g.team = $1 AND g.from_at <= s.slot AND (g.to_at IS NULL OR s.slot < g.to_at)
                                   ORDER BY ${RANGE_REASONS_BY_RANK} NULLS LAST LIMIT 1) g ON true
               LEFT JOIN LATERAL (SELECT true AS there FROM operation_items i
                                   WHERE i.job_id = $2 AND i.slot = s.slot AND i.team = $1 AND i.result IN ('pending', 'succeeded') LIMIT 1) t ON true
              ORDER BY s.position`,
      values: [team, jobId, slots.slice(from, from + FATES_AT_ONCE)],
    });
    for (const { fate } of rows) fates.push(fate);
  }
  return fates;
}
