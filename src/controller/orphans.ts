/**
 * Schedules of ours in Temporal that no row knows (semantics.md 10). Usually a process died between a purge and a late create; then they fire for nobody and may go. But
 * after a restore of an old database backup they may be all that is left of their users' work. So: only after ten minutes without a row, and when there are
 * more than max(5, 1 %) of them, none at all until an operator has said so.
 *
 * Saying so is one row in the audit trail, which also keeps who it was:
 *   INSERT INTO audit_events (team, actor, action, subject_kind, subject_id) VALUES ('default', '<your name>', 'orphans.confirmed', 'sweep', 'orphans');
 * It holds for as many orphans as there were when the sweep stopped (and a tenth more), and is used up when they are gone.
 */
import type { ScheduleCalls } from '../jobs/clocks/schedule-calls.ts';
import { isClockWorkflow } from '../jobs/clocks/schedule-shape.ts';
import { clocksKnown } from '../jobs/clocks/sweep-store.ts';
import type { Log } from '../log.ts';
import type { Pool, Queryable } from '../postgres.ts';

const TEAM = 'default';
const SUBJECT = 'orphans';
/** How long an orphan is only watched, milliseconds. */
const GRACE_MS = 600_000;
const GHOST_MS = 3_600_000;
/** Orphans that are asked about in one sweep, before so many of them are taken for an alarm. */
const ASKED_AT_MOST = 200;
const ALWAYS_ALLOWED = 5;
const ALLOWED_SHARE = 0.01;
/** How often the error is repeated while stopped, milliseconds. */
const REPEAT_MS = 600_000;

export type Orphans = { handle(rowless: string[], schedules: number): Promise<{ deleted: number; stopped: boolean }> };
type Gate = { stopped: boolean; confirmedUpTo: number };

export function createOrphans(deps: { pool: Pool; calls: ScheduleCalls; log: Log; graceMs?: number; now?: () => number }): Orphans {
  const { pool, calls, log, graceMs = GRACE_MS, now = Date.now } = deps;
  const firstSeen = new Map<string, number>();
  /** Listed, yet not there: Temporal's list can keep showing a deleted schedule. Until when each is believed to be one. */
  const ghosts = new Map<string, number>();
  let saidAt = Number.NEGATIVE_INFINITY;

  /** Deletes what is still without a row on the primary and still what we once made. */
  async function remove(ids: string[]): Promise<number> {
    const known = await clocksKnown(pool, ids);
    let deleted = 0;
    for (const id of ids) {
      if (known.has(id)) continue;
      const described = await calls.describe(id);
      if (!described) ghosts.set(id, now() + GHOST_MS);
      else if (isClockWorkflow(described.schedule.action?.startWorkflow?.workflowType?.name)) {
        await calls.remove(id);
        deleted += 1;
        log.warn({ schedule: id }, 'a schedule without a row was deleted');
      }
      firstSeen.delete(id);
    }
    return deleted;
  }

  /** Leaves out what Temporal only still lists. Asks only when there are so many that it matters. */
  async function withoutGhosts(rowless: string[], allowed: number): Promise<string[]> {
    for (const [id, until] of ghosts) if (until < now()) ghosts.delete(id);
    const real = rowless.filter((id) => !ghosts.has(id));
    if (real.length <= allowed) return real;
    for (const id of real.slice(0, ASKED_AT_MOST)) if (!(await calls.describe(id))) ghosts.set(id, now() + GHOST_MS);
    return real.filter((id) => !ghosts.has(id));
  }

  function remember(rowless: string[]): string[] {
    const still = new Set(rowless);
    for (const id of firstSeen.keys()) if (!still.has(id)) firstSeen.delete(id);
    for (const id of rowless) if (!firstSeen.has(id)) firstSeen.set(id, now());
    return rowless.filter((id) => now() - firstSeen.get(id)! >= graceMs);
  }

  /**
   * @param listed ids of our schedules that have no clock row, from one whole sweep.
   * @param schedules how many schedules of ours there are altogether.
   */
  async function handle(listed: string[], schedules: number): Promise<{ deleted: number; stopped: boolean }> {
    const gate = await readGate(pool);
    const limit = Math.max(ALWAYS_ALLOWED, Math.floor(schedules * ALLOWED_SHARE));
    const allowed = Math.max(gate.confirmedUpTo, gate.stopped ? 0 : limit);
    const rowless = await withoutGhosts(listed, allowed);
    const ripe = remember(rowless);
    if (gate.stopped || rowless.length > allowed) {
      if (!gate.stopped) await writeEvent(pool, 'orphans.stopped', { orphans: rowless.length, schedules, some: rowless.slice(0, 20) });
      if (now() - saidAt >= REPEAT_MS) {
        saidAt = now();
        log.error(
          { orphans: rowless.length, schedules, limit, some: rowless.slice(0, 5) },
          "too many schedules in Temporal have no row here: none is deleted until an operator confirms. Was an old backup restored? To have them deleted: INSERT INTO audit_events (team, actor, action, subject_kind, subject_id) VALUES ('default', '<your name>', 'orphans.confirmed', 'sweep', 'orphans')",
        );
      }
      return { deleted: 0, stopped: true };
    }
    saidAt = Number.NEGATIVE_INFINITY;
    const deleted = ripe.length > 0 ? await remove(ripe) : 0;
    if (gate.confirmedUpTo > 0 && rowless.length - deleted <= 0) await writeEvent(pool, 'orphans.deleted', { deleted });
    return { deleted, stopped: false };
  }

  return { handle };
}

/** The newest event decides: stopped, confirmed by somebody, or neither. It is in the database, so that a restart does not forget it. */
async function readGate(database: Queryable): Promise<Gate> {
  const found = await database.query<{ action: string; orphans: number | null }>(
    `SELECT action, (after ->> 'orphans')::integer AS orphans FROM audit_events
      WHERE subject_id = $1 AND subject_kind = 'sweep' AND team = $2 ORDER BY id DESC LIMIT 2`,
    [SUBJECT, TEAM],
  );
  const [last, before] = found.rows;
  if (last?.action === 'orphans.stopped') return { stopped: true, confirmedUpTo: 0 };
  if (last?.action === 'orphans.confirmed' && before?.action === 'orphans.stopped') {
    return { stopped: false, confirmedUpTo: Math.ceil((before.orphans ?? 0) * 1.1) };
  }
  return { stopped: false, confirmedUpTo: 0 };
}

async function writeEvent(database: Queryable, action: string, after: object): Promise<void> {
  await database.query(
    `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after) VALUES ($1, 'almanac', $2, 'sweep', $3, $4)`,
    [TEAM, action, SUBJECT, JSON.stringify(after)],
  );
}
