/**
 * Use cases on freezes. A freeze is one row: whoever admits or claims looks at it, so that it holds ten thousand jobs as soon as it is committed, and no job's own
 * pause is touched. What it waits for, and what it leaves behind, is the controller's work (freeze-settlement.ts).
 */
import { inTransaction, type Pool, type Transaction } from '../../postgres.ts';
import { auditInsert } from '../audit.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import { claimIdempotencyKey, type IdempotencyContext } from '../idempotency.ts';
import { newFreezeId } from '../ids.ts';
import { jobNotFound } from '../job-errors.ts';
import { jobFindId } from '../job-store.ts';
import { executionsRunning, jobsCovered, jobsCoveredSample } from './freeze-counts.ts';
import {
  endErrors,
  type FreezeView,
  freezePatchSchema,
  freezeSchema,
  invalidFreeze,
  parseFreeze,
  windowOfFreeze,
} from './freeze-document.ts';
import { freezeHasChanged, freezeIsOver, freezeNotFound } from './freeze-errors.ts';
import {
  databaseNow,
  type FreezeKey,
  type FreezeQuery,
  freezeDelete,
  freezeFind,
  freezeInsert,
  freezeLock,
  freezesList,
  freezeUpdate,
  freezeView,
  type StoredFreeze,
} from './freeze-store.ts';
import { resolveTargets } from './freeze-targets.ts';
import { type SwallowedSlots, swallowedSlots } from './swallowed-slots.ts';

/** What a freeze holds now, and has held so far. */
export type FreezeCounts = {
  /** Jobs that it covers, by what they are now. */
  jobs: number;
  /** Executions of them that are under way. */
  running: number;
  /** Executions that it has asked to stop. */
  cancelled: number;
  slots: SwallowedSlots;
};
export type FreezeDetail = FreezeView & { counts: FreezeCounts };
/** What a freeze would do. */
export type FreezePlan = {
  dryRun: true;
  scope: FreezeView['scope'];
  targets: string[];
  from: string;
  to: string | null;
  jobs: { count: number; sample: { id: string; name: string }[] };
  running: number;
};
type ChangeOptions = { ifMatch?: ((version: number) => boolean) | undefined };

export type Freezes = ReturnType<typeof createFreezes>;

export function createFreezes({ pool }: { pool: Pool }) {
  async function detailed(freeze: StoredFreeze): Promise<FreezeDetail> {
    const jobs = await jobsCovered(pool, freeze);
    const running = await executionsRunning(pool, freeze);
    const slots = await swallowedSlots(pool, freeze.id);
    return { ...freezeView(freeze), counts: { jobs, running, cancelled: freeze.cancelled, slots } };
  }

  async function planned(caller: Caller, plan: Omit<FreezePlan, 'dryRun' | 'jobs' | 'running'>): Promise<FreezePlan> {
    const cover = { team: caller.team, scope: plan.scope, targets: plan.targets };
    const count = await jobsCovered(pool, cover);
    const sample = await jobsCoveredSample(pool, cover);
    return { dryRun: true, ...plan, jobs: { count, sample }, running: await executionsRunning(pool, cover) };
  }

  /** The freeze under its lock. @throws JobError `not_found`, `forbidden`, `precondition` */
  async function withLocked<T>(
    caller: Caller,
    id: string,
    { ifMatch }: ChangeOptions,
    work: (tx: Transaction, freeze: StoredFreeze, now: Date) => Promise<T>,
  ): Promise<T> {
    return inTransaction(pool, async (tx) => {
      const freeze = await freezeLock(tx, caller.team, id);
      if (!freeze) throw freezeNotFound(id);
      if (freeze.team !== caller.team)
        throw new JobError(
          'forbidden',
          'not_your_freeze',
          `The freeze ${id} holds all teams; only team ${JSON.stringify(freeze.team)}, which made it, may change it.`,
        );
      if (ifMatch && !ifMatch(freeze.version)) throw freezeHasChanged(freeze);
      return work(tx, freeze, await databaseNow(tx));
    });
  }

  async function change(
    tx: Transaction,
    caller: Caller,
    action: string,
    freeze: StoredFreeze,
    changed: Partial<StoredFreeze>,
  ): Promise<StoredFreeze> {
    const after = await freezeUpdate(tx, caller.team, freeze.id, { ...freeze, ...changed });
    await auditInsert(tx, caller, {
      action,
      subjectKind: 'freeze',
      subjectId: freeze.id,
      before: freezeView(freeze),
      after: freezeView(after),
    });
    return after;
  }

  return {
    /**
     * Makes a freeze, or says what it would hold. It is in force for everyone when this returns, if it begins now.
     * @throws JobError `invalid` naming each wrong place.
     */
    async create(caller: Caller, body: unknown, idempotency?: IdempotencyContext): Promise<FreezeView | FreezePlan> {
      const asked = parseFreeze(freezeSchema, body);
      const targets = await resolveTargets(pool, caller.team, asked.scope, asked.targets);
      if (asked.dryRun) {
        const { from, to } = windowOfFreeze(asked, await databaseNow(pool));
        return planned(caller, { scope: asked.scope, targets, from: from.toISOString(), to: to?.toISOString() ?? null });
      }
      return inTransaction(pool, async (tx) => {
        const window = windowOfFreeze(asked, await databaseNow(tx));
        const { scope, reason, drain, cancelRunning } = asked;
        const made = await freezeInsert(tx, {
          id: newFreezeId(),
          team: caller.team,
          scope,
          targets,
          reason,
          ...window,
          drain,
          cancelRunning,
          by: caller.name,
        });
        const view = freezeView(made);
        await claimIdempotencyKey(tx, idempotency, view);
        await auditInsert(tx, caller, { action: 'freeze.created', subjectKind: 'freeze', subjectId: made.id, after: view });
        return view;
      });
    },

    async get(caller: Caller, id: string): Promise<FreezeDetail> {
      const freeze = await freezeFind(pool, caller.team, id);
      if (!freeze) throw freezeNotFound(id);
      return detailed(freeze);
    },

    /** Freezes by their beginning, the last one first. @throws JobError `not_found` when `job` is none. */
    async list(
      caller: Caller,
      { job, ...query }: Omit<FreezeQuery, 'jobId'> & { job?: string | undefined },
    ): Promise<{ items: FreezeView[]; next: FreezeKey | null }> {
      const jobId = job === undefined ? undefined : await jobFindId(pool, caller.team, job);
      if (jobId === null) throw jobNotFound(job!);
      // whoever asks for those in force wants those that drain too
      const state = query.state?.includes('active') ? [...query.state, 'draining' as const] : query.state;
      const { items, next } = await freezesList(pool, caller.team, { ...query, state, jobId });
      return { items: items.map(freezeView), next };
    },

    /** Another reason or end. @throws JobError `refused` when it is over. */
    async patch(caller: Caller, id: string, body: unknown, options: ChangeOptions = {}): Promise<FreezeView> {
      const patch = parseFreeze(freezePatchSchema, body);
      return withLocked(caller, id, options, async (tx, freeze, now) => {
        if (freeze.state === 'ended') throw freezeIsOver(freeze);
        const to = patch.to === undefined ? freeze.to : patch.to === null ? null : new Date(patch.to);
        const reason = patch.reason ?? freeze.reason;
        if (reason === freeze.reason && to?.getTime() === freeze.to?.getTime()) return freezeView(freeze);
        if (to && to.getTime() !== freeze.to?.getTime()) {
          const errors = endErrors(freeze.from, to, now);
          if (errors[0]?.code === 'in_the_past') errors[0].message += `; POST /api/v1/freezes/${id}/end ends it now`;
          if (errors.length > 0) throw invalidFreeze(errors);
        }
        return freezeView(await change(tx, caller, 'freeze.updated', freeze, { reason, to }));
      });
    },

    /** Ends it now. @throws JobError `refused` when it has not begun, or is over. */
    async end(
      caller: Caller,
      id: string,
      options: ChangeOptions & { idempotency?: IdempotencyContext | undefined } = {},
    ): Promise<FreezeView> {
      return withLocked(caller, id, options, async (tx, freeze, now) => {
        if (freeze.state === 'ended') throw freezeIsOver(freeze);
        if (freeze.state === 'upcoming')
          throw new JobError(
            'refused',
            'freeze_upcoming',
            `The freeze ${id} has not begun, it begins at ${freeze.from.toISOString()}; DELETE it instead.`,
            {
              extra: { state: freeze.state },
            },
          );
        const view = freezeView(await change(tx, caller, 'freeze.ended', freeze, { endedAt: now, endedBy: caller.name }));
        await claimIdempotencyKey(tx, options.idempotency, view);
        return view;
      });
    },

    /** Takes an upcoming freeze away. @throws JobError `refused` when it has begun. */
    async remove(caller: Caller, id: string, options: ChangeOptions = {}): Promise<void> {
      await withLocked(caller, id, options, async (tx, freeze) => {
        if (freeze.state === 'ended')
          throw new JobError('refused', 'freeze_ended', `The freeze ${id} is over; it stays, because slots name it.`, {
            extra: { state: freeze.state },
          });
        if (freeze.state !== 'upcoming')
          throw new JobError('refused', 'freeze_in_force', `The freeze ${id} is in force; POST /api/v1/freezes/${id}/end ends it.`, {
            extra: { state: freeze.state },
          });
        await freezeDelete(tx, caller.team, id);
        await auditInsert(tx, caller, { action: 'freeze.deleted', subjectKind: 'freeze', subjectId: id, before: freezeView(freeze) });
      });
    },
  };
}
