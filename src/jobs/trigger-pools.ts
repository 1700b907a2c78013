/**
 * Which group a trigger joins, and when the group's workflow is started.
 *
 * A workflow costs Temporal about as much for one execution as for hundreds. So, per team and queue, a group is started at once when none was started lately; whoever
 * comes right after gathers in the next one until the pause between two starts is over. One trigger by itself is in nobody's company: it has a workflow of its own, at once.
 * The rows are committed before they are told here; a process that dies now leaves them to the controller.
 *
 * A statement may take so long (it waits for the lock of a job) that the group it was offered has been started without it. That workflow may be at its calls for many
 * seconds, or have ended, so that its late rows are given a group of their own.
 */
import { v7 } from 'uuid';
import type { Starter } from './execution-starts.ts';
import type { ExecutionStart } from './execution-store.ts';
import { newGroupPoolId } from './ids.ts';
import { type AdmittedTrigger, startOf, type TriggerQuestion } from './trigger-store.ts';

/** Between two starts of groups of one queue, milliseconds: after a small one, and after one of `LARGE_ROWS`. */
const PAUSE_MS = 50;
const LONG_PAUSE_MS = 100;
const LARGE_ROWS = 100;
/** A group of so many rows to which nobody adds for this time is the end of a burst. */
const BURST_ROWS = 16;
const QUIET_MS = 12;
/** The next group gathers as long as the start before it is under way, but no longer than this. */
const SLOW_START_MS = 500;
/** So often an open group is looked at, when it could not be closed. */
const AGAIN_MS = 10;
/** A group with so many rows is started, whatever the pause says. */
const MOST_ROWS = 500;
/**
 * Executions of a queue within about `WARMTH_MS`, fading; from so many on (50 a second) one that is alone in its statement has company all the same:
 * Temporal could not give each a workflow of its own at that rate.
 */
const WARM_ROWS = 5;
const HOTTEST_ROWS = 50;
const WARMTH_MS = 100;
/** A group waits no longer than this for a statement that may still add to it. */
const PATIENCE_MS = 100;
/** What is known of a queue is forgotten after this. */
const FORGOTTEN_MS = 1_000;

/** A group that gathers. `promised`: statements under way that may add rows. */
type Group = {
  id: string;
  place: Place;
  first: ExecutionStart | null;
  rows: number;
  promised: number;
  state: 'open' | 'closed' | 'started';
  sent: () => void;
  quiet: NodeJS.Timeout | null;
};
/** One queue of one team: its open group, what was started last, how many starts are under way, and how much there was to do lately. */
type Place = { open: Group | null; startedAt: number; startedRows: number; starting: number; warmth: number; warmAt: number };
/** What a statement may add to: the groups that are open, and the uuid of those that begin with it. */
export type TriggerOffer = { team: string; open: Record<string, string>; fresh: string; groups: Group[] };

export type TriggerPools = ReturnType<typeof createTriggerPools>;

/** @param move gives rows that nobody has begun yet to another pool; answers how many those were. */
export function createTriggerPools(
  starter: Pick<Starter, 'start' | 'startSoon' | 'startPoolAgain' | 'behind'>,
  move: (rows: readonly ExecutionStart[], from: string, to: string) => Promise<number>,
) {
  const teams = new Map<string, Map<string, Place>>();

  /** To be taken before a statement, and given back after it: with what it has committed, or with nothing. */
  function offer(team: string): TriggerOffer {
    const offered: TriggerOffer = { team, open: {}, fresh: v7(), groups: [] };
    for (const [queue, place] of teams.get(team) ?? []) {
      if (!place.open && warmthOf(place) >= WARM_ROWS) place.open = newGroup(newGroupPoolId(queue), place);
      if (place.open) {
        place.open.promised++;
        offered.open[queue] = place.open.id;
        offered.groups.push(place.open);
      } else if (performance.now() - place.warmAt > FORGOTTEN_MS) teams.get(team)?.delete(queue);
    }
    return offered;
  }

  /** Starts what a statement has committed: those with a workflow of their own now, the others with their group. Without arguments it has committed nothing. */
  function giveBack(offered: TriggerOffer, questions: readonly TriggerQuestion[] = [], admitted: readonly AdmittedTrigger[] = []): void {
    const groups = new Map(offered.groups.map((group) => [group.id, group]));
    const late = new Map<Group, ExecutionStart[]>();
    for (const group of offered.groups) group.promised--;
    for (const [nth, one] of admitted.entries()) {
      if (one.verdict !== 'run' || one.ended) continue;
      const place = placeOf(offered.team, one.queue);
      warm(place);
      if (one.pool === null) {
        starter.startSoon(startOf(questions[nth]!, one));
        continue;
      }
      let group = groups.get(one.pool);
      if (!group) {
        group = newGroup(one.pool, place);
        place.open ??= group;
        groups.set(group.id, group);
      }
      if (group.state === 'started') {
        const rows = late.get(group) ?? [];
        late.set(group, rows);
        rows.push(startOf(questions[nth]!, one));
        continue;
      }
      group.rows++;
      if (!group.first) gather(group, startOf(questions[nth]!, one));
    }
    for (const [group, rows] of late) void starter.behind(startApart(group, rows));
    for (const group of groups.values()) {
      if (group.rows > 0 && (group.rows >= MOST_ROWS || msToPause(group.place) <= 0)) close(group);
      else if (group.rows >= BURST_ROWS && group.promised === 0)
        group.quiet = group.quiet?.refresh() ?? setTimeout(closeIfQuiet, QUIET_MS, group);
      if (group.state === 'closed' && group.promised === 0) start(group);
    }
  }

  function placeOf(team: string, queue: string): Place {
    const places = teams.get(team) ?? new Map<string, Place>();
    teams.set(team, places);
    const place = places.get(queue) ?? {
      open: null,
      startedAt: Number.NEGATIVE_INFINITY,
      startedRows: 0,
      starting: 0,
      warmth: 0,
      warmAt: performance.now(),
    };
    places.set(queue, place);
    return place;
  }

  const warmthOf = (place: Place): number => place.warmth * Math.exp((place.warmAt - performance.now()) / WARMTH_MS);

  function warm(place: Place): void {
    place.warmth = Math.min(warmthOf(place) + 1, HOTTEST_ROWS);
    place.warmAt = performance.now();
  }

  /** It is closed by whoever adds to it when there is no pause to wait for, and else when that is over. */
  function newGroup(id: string, place: Place): Group {
    const group: Group = { id, place, first: null, rows: 0, promised: 0, state: 'open', sent: () => {}, quiet: null };
    setTimeout(ripen, Math.max(msToPause(place), AGAIN_MS), group);
    return group;
  }

  function gather(group: Group, first: ExecutionStart): void {
    group.first = first;
    starter.behind(
      new Promise<void>((resolve) => {
        group.sent = resolve;
      }),
    );
  }

  /** Looks at a group until it is closed. One without rows stays open as long as somebody may add to it, and is forgotten after that. */
  function ripen(group: Group): void {
    if (group.state !== 'open') return;
    const isEmpty = group.rows === 0;
    if (isEmpty && group.promised === 0) shut(group);
    else if (isEmpty || msToPause(group.place) > 0) setTimeout(ripen, AGAIN_MS, group);
    else close(group);
  }

  /** A burst is over: the rest of the pause would be waited for in vain. */
  function closeIfQuiet(group: Group): void {
    if (group.promised === 0) close(group);
  }

  function shut(group: Group): void {
    group.state = 'closed';
    if (group.place.open === group) group.place.open = null;
  }

  /** Nobody joins any more; what is promised is waited for. It has rows. */
  function close(group: Group): void {
    if (group.state !== 'open') return;
    shut(group);
    const { place } = group;
    place.startedAt = performance.now();
    place.startedRows = group.rows;
    if (group.promised === 0) start(group);
    else setTimeout(start, PATIENCE_MS, group);
  }

  function start(group: Group): void {
    if (group.state !== 'closed' || !group.first) return;
    group.state = 'started';
    group.place.starting++;
    void starter.behind(starter.start(group.first)).finally(() => group.place.starting--);
    group.sent();
  }

  /** Starts rows that came after their group was started; those that its workflow has begun meanwhile stay there. */
  async function startApart({ id, place }: Group, rows: readonly ExecutionStart[]): Promise<void> {
    const first = rows[0]!;
    const fresh = newGroupPoolId(first.queue);
    place.starting++;
    try {
      if ((await move(rows, id, fresh)) > 0) await starter.start({ ...first, workflowId: fresh });
    } catch {
      // they are where they were: their workflow finds them when its calls are over, or begins again
      starter.startPoolAgain(first);
    } finally {
      place.starting--;
    }
  }

  /** Not more than 0: a group may be started. */
  function msToPause({ startedAt, startedRows, starting }: Place): number {
    const pauseMs = startedRows >= LARGE_ROWS ? LONG_PAUSE_MS : PAUSE_MS;
    const leftMs = startedAt + pauseMs - performance.now();
    return leftMs <= 0 && starting > 0 && leftMs > pauseMs - SLOW_START_MS ? AGAIN_MS : leftMs;
  }

  return { offer, giveBack };
}
