/**
 * Catch-ups of many jobs at once: after a freeze, and with a bulk resume. Thousands of jobs have a slot or two each, so that an operation per job would cost a row, a workflow and
 * some statements for one execution: 1,000 jobs took minutes. Here they are the items of one backfill per origin, which takes more as long as it is not finished; one that is being
 * worked on just then, or is full, is followed by another.
 */
import type { Transaction } from '../../postgres.ts';
import { formatInstant } from '../time/instant.ts';
import { type AskedOfMany, catchUpGrow, catchUpOpen, catchUpsAudit, catchUpsLock } from './catch-up-store.ts';
import { fatesOfMany, type JobSlot } from './expected-slots.ts';
import { MOST_ITEMS, operationInsert, slotItemsInsert } from './operation-store.ts';

/** A job and the slots, ascending, that it is to run; of more than 100,000 the newest. */
export type JobCatchUp = { jobId: string; slots: readonly Date[] };
export type CatchUpsStart = {
  team: string;
  /** The freeze, or the bulk operation. */
  origin: string;
  jobs: readonly JobCatchUp[];
  /** In which each job's slots are run. */
  order: 'oldest' | 'newest';
  requestedBy: string;
  reason: string;
  requestId?: string | null;
};

/**
 * Writes what has not run yet and is in no backfill as items of as few operations as will hold them, in the caller's transaction, which holds the locks of the jobs. Asked again it
 * writes nothing. The controller starts their workflows within seconds of the commit.
 * @returns the operation of each job that has any slot to run.
 */
export async function startCatchUps(tx: Transaction, start: CatchUpsStart): Promise<Map<string, string>> {
  const started = new Map<string, string>();
  const asked = start.jobs.filter(({ slots }) => slots.length > 0);
  if (asked.length === 0) return started;
  const { team, origin, order, requestedBy, reason, requestId = null } = start;
  await catchUpsLock(
    tx,
    asked.map(({ jobId }) => jobId),
  );
  const events: { jobId: string; after: unknown }[] = [];
  let left = await withoutRun(tx, team, asked);
  for (let open = left.length > 0 ? await catchUpOpen(tx, team, origin) : null; left.length > 0; open = null) {
    const taken = asManyAsFit(left, MOST_ITEMS - (open?.total ?? 0));
    left = left.slice(taken.length);
    if (taken.length === 0) continue;
    const inOrder = inTurns(taken.map(({ jobId, slots }) => ({ jobId, slots: order === 'newest' ? slots.toReversed() : slots })));
    const about = aboutAll(taken, order, open?.asked);
    const total = (open?.total ?? 0) + inOrder.length;
    const operation = {
      team,
      kind: 'backfill',
      jobId: null,
      origin,
      asked: about,
      params: {},
      reason,
      ratePerMinute: null,
      requestedBy,
      requestId,
    } as const;
    const id = open?.id ?? (await operationInsert(tx, operation, total));
    if (open) await catchUpGrow(tx, team, id, total, about);
    await slotItemsInsert(tx, team, id, open?.total ?? 0, inOrder);
    for (const { jobId, slots } of taken) {
      started.set(jobId, id);
      const [from, to] = [slots[0]!, slots.at(-1)!].map(formatInstant);
      events.push({ jobId, after: { backfill: id, count: slots.length, reason, ratePerMinute: null, only: 'missed', order, from, to } });
    }
  }
  if (events.length > 0) await catchUpsAudit(tx, { team, name: requestedBy, requestId: requestId ?? origin }, events);
  return started;
}

async function withoutRun(tx: Transaction, team: string, jobs: readonly JobCatchUp[]): Promise<JobCatchUp[]> {
  const all = jobs.flatMap(({ jobId, slots }) => slots.map((slot) => ({ jobId, slot })));
  const fates = await fatesOfMany(tx, team, all);
  const kept = Map.groupBy(
    all.filter((_, nth) => fates[nth] !== 'ran' && fates[nth] !== 'taken'),
    ({ jobId }) => jobId,
  );
  return [...kept].map(([jobId, slots]) => ({ jobId, slots: slots.slice(-MOST_ITEMS).map(({ slot }) => slot) }));
}

/** The first of these jobs whose slots are together no more than `room`. */
function asManyAsFit(jobs: readonly JobCatchUp[], room: number): readonly JobCatchUp[] {
  let slots = 0;
  const over = jobs.findIndex((job) => {
    slots += job.slots.length;
    return slots > room;
  });
  return over === -1 ? jobs : jobs.slice(0, over);
}

/** The first slot of each job, then the second of each: the head of what is left has many jobs in it, of which some can go on. */
function inTurns(jobs: readonly JobCatchUp[]): JobSlot[] {
  const inOrder: JobSlot[] = [];
  let more = jobs;
  for (let nth = 0; more.length > 0; nth += 1) {
    more = more.filter(({ slots }) => nth < slots.length);
    for (const { jobId, slots } of more) inOrder.push({ jobId, slot: slots[nth]! });
  }
  return inOrder;
}

function aboutAll(jobs: readonly JobCatchUp[], order: AskedOfMany['order'], before?: AskedOfMany): AskedOfMany {
  const firsts = jobs.map(({ slots }) => slots[0]!.getTime());
  const lasts = jobs.map(({ slots }) => slots.at(-1)!.getTime());
  if (before) {
    firsts.push(Date.parse(before.from));
    lasts.push(Date.parse(before.to));
  }
  return {
    only: 'missed',
    order,
    jobs: jobs.length + (before?.jobs ?? 0),
    from: formatInstant(new Date(Math.min(...firsts))),
    to: formatInstant(new Date(Math.max(...lasts))),
  };
}
