/**
 * Loop: jobs that leave the choice to us share a clock where there are many of one timing, and have one each again where few are left (semantics.md 21). Each job moves in a
 * short transaction of its own under its lock, so that the truth is whole at every moment, and a pass that was cut off is simply gone on with.
 */
import type { Config } from '../config.ts';
import { moveJob } from '../jobs/job-clock-change.ts';
import { jobLock } from '../jobs/job-store.ts';
import type { Log } from '../log.ts';
import { inTransaction, type Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { type DispatchGroup, groupJobs, groupsToMove, groupTurn, sharedClockState } from './dispatch-choice-store.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import { together } from './together.ts';

/** A group turns at most this often. */
const HOLD_MS = 3_600_000;
const GROUPS = 50;
/** Jobs of one group that move in one pass, and at the same time. */
const JOBS = 500;
const WIDTH = 4;

export type DispatchMoves = { pass(signal?: AbortSignal): Promise<{ moved: number; more: boolean }> };

/** @param deps.holdMs least time between two turns of a group. */
export function createDispatchMoves(deps: {
  pool: Pool;
  log: Log;
  config: Pick<Config, 'POOL_FROM_JOBS' | 'POOL_BELOW_JOBS'>;
  holdMs?: number;
}): DispatchMoves {
  const { pool, log, config, holdMs = HOLD_MS } = deps;

  const move = (job: { id: string; team: string }, group: DispatchGroup): Promise<boolean> =>
    inTransaction(pool, async (tx) => {
      const locked = await jobLock(tx, job.team, job.id);
      return locked !== null && moveJob(tx, locked.job, locked.at, group.timing_hash, group.to);
    });

  /** A shared clock that Temporal does not have yet would lose the slots of all who came: one job makes it, the others follow when it is there. */
  async function roomFor(group: DispatchGroup): Promise<number> {
    if (group.to === 'dedicated') return JOBS;
    const clock = await sharedClockState(pool, group.timing_hash);
    return { absent: 1, pending: 0, ready: JOBS }[clock];
  }

  async function moveGroup(group: DispatchGroup, signal: AbortSignal | undefined): Promise<{ moved: number; more: boolean }> {
    const room = await roomFor(group);
    const jobs = room === 0 ? [] : await groupJobs(pool, group, room);
    if (jobs.length === 0) return { moved: 0, more: false };
    await groupTurn(pool, group);
    let moved = 0;
    await together(
      jobs,
      WIDTH,
      async (job) => {
        if (await move(job, group)) moved += 1;
      },
      signal ? { signal } : {},
    );
    if (moved > 0) log.info({ timing: group.timing_hash, to: group.to, moved }, 'jobs with the same timing were moved');
    return { moved, more: moved > 0 && jobs.length === JOBS };
  }

  return {
    async pass(signal) {
      const limits = { from: config.POOL_FROM_JOBS, below: Math.min(config.POOL_BELOW_JOBS, config.POOL_FROM_JOBS), holdMs, limit: GROUPS };
      const all = { moved: 0, more: false };
      for (const group of await groupsToMove(pool, limits)) {
        if (signal?.aborted) break;
        const { moved, more } = await moveGroup(group, signal);
        all.moved += moved;
        all.more ||= more;
      }
      return all;
    },
  };
}

/** @param deps.onMoved told when clocks have something to tell Temporal. */
export function createDispatchChoice(deps: { pool: Pool; moves: DispatchMoves; servers: Servers; log: Log; onMoved: () => void }): Loop {
  const { pool, moves, servers, log, onMoved } = deps;
  return createLoop({
    name: 'dispatch-choice',
    intervalMs: 5_000,
    needs: ['Postgres', 'Temporal'],
    servers,
    log,
    pass: async (signal) => {
      const done = await alone(pool, 'dispatch-choice', () => moves.pass(signal));
      if (!done || done.moved === 0) return undefined;
      onMoved();
      return done.more ? 'again' : undefined;
    },
  });
}
