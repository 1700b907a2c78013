/**
 * Who may call next. All pooled calls of a worker share a number of places, and each target (a service, a host, a handler) has a number of its own, so that a target
 * that hangs holds up only its own line (semantics.md 20). A call that lasts is not counted against the others any more: it keeps its target's place only.
 */

/** A call's place; `end` it when the call is over. */
export type Place = { end: () => void };
export type CallLines = ReturnType<typeof createCallLines>;

type Waiting = { take: (place: Place) => void };
type Line = { underway: number; waiting: Waiting[] };

/** @param options.slowAfterMs a call older than this leaves the shared count. */
export function createCallLines({ places, perTarget, slowAfterMs = 1_000 }: { places: number; perTarget: number; slowAfterMs?: number }) {
  const lines = new Map<string, Line>();
  /** Targets with somebody waiting, in the order in which they are asked. */
  const turns = new Set<string>();
  /** Calls that count, oldest first. */
  const counted = new Map<object, number>();
  let sweep: NodeJS.Timeout | null = null;

  const lineOf = (target: string): Line => {
    const known = lines.get(target);
    if (known) return known;
    const line: Line = { underway: 0, waiting: [] };
    lines.set(target, line);
    return line;
  };
  const hasRoom = (line: Line): boolean => line.underway < perTarget && counted.size < places;

  function occupy(target: string, line: Line): Place {
    const call = {};
    line.underway += 1;
    counted.set(call, performance.now());
    sweep ??= setInterval(leaveSlowOut, slowAfterMs / 5).unref();
    let over = false;
    return {
      end() {
        if (over) return;
        over = true;
        counted.delete(call);
        line.underway -= 1;
        if (line.underway === 0 && line.waiting.length === 0) lines.delete(target);
        if (turns.size > 0) letIn();
        if (counted.size === 0 && sweep) {
          clearInterval(sweep);
          sweep = null;
        }
      },
    };
  }

  function leaveSlowOut(): void {
    const before = performance.now() - slowAfterMs;
    for (const [call, since] of counted) {
      if (since > before) break;
      counted.delete(call);
    }
    if (turns.size > 0) letIn();
  }

  /** One of each waiting target in turn, while there is room. */
  function letIn(): void {
    for (let progress = true; progress && counted.size < places; ) {
      progress = false;
      for (const target of turns) {
        const line = lineOf(target);
        if (!hasRoom(line)) continue;
        const next = line.waiting.shift()!;
        if (line.waiting.length === 0) turns.delete(target);
        next.take(occupy(target, line));
        progress = true;
      }
    }
  }

  return {
    /** A place now, or null. */
    takeNow(target: string): Place | null {
      const line = lineOf(target);
      return line.waiting.length === 0 && hasRoom(line) ? occupy(target, line) : null;
    },

    /** A place within `ms`, or null. Aborting `signal` ends the wait. */
    async take(target: string, ms: number, signal?: AbortSignal): Promise<Place | null> {
      const now = this.takeNow(target);
      if (now || signal?.aborted) return now;
      return await new Promise<Place | null>((resolve) => {
        const line = lineOf(target);
        const leave = () => {
          const position = line.waiting.indexOf(waiting);
          if (position < 0) return;
          line.waiting.splice(position, 1);
          if (line.waiting.length === 0) turns.delete(target);
          settle(null);
        };
        const timer = Number.isFinite(ms) ? setTimeout(leave, ms) : null;
        const settle = (place: Place | null) => {
          if (timer) clearTimeout(timer);
          signal?.removeEventListener('abort', leave);
          resolve(place);
        };
        const waiting: Waiting = { take: settle };
        signal?.addEventListener('abort', leave);
        line.waiting.push(waiting);
        turns.add(target);
      });
    },
  };
}
