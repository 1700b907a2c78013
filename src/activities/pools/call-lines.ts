/**
 * Who may call next. All pooled calls of a worker share a number of places, and each target (a service, a host, a handler) has a number of its own, so that a target
 * that hangs holds up only its own line (semantics.md 20). A call that lasts is not counted against the others any more: it keeps its target's place only.
 */

/** A call's place; `end` it when the call is over. */
export type Place = { end: () => void };
export type CallLines = ReturnType<typeof createCallLines>;

type Waiting = { take: (place: Place | null) => void; until: number; signal: AbortSignal };
/** How often calls that last and waits that are over are looked for: one timer for all of them. */
const LOOK_MS = 100;

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
    sweep ??= setInterval(look, LOOK_MS).unref();
    let over = false;
    return {
      end() {
        if (over) return;
        over = true;
        counted.delete(call);
        line.underway -= 1;
        if (line.underway === 0 && line.waiting.length === 0) lines.delete(target);
        if (turns.size > 0) letIn();
      },
    };
  }

  function look(): void {
    const now = performance.now();
    for (const [call, since] of counted) {
      if (since > now - slowAfterMs) break;
      counted.delete(call);
    }
    for (const target of turns) {
      const line = lineOf(target);
      const over = line.waiting.filter((waiting) => waiting.until <= now || waiting.signal.aborted);
      if (over.length === 0) continue;
      line.waiting = line.waiting.filter((waiting) => !over.includes(waiting));
      if (line.waiting.length === 0) turns.delete(target);
      for (const waiting of over) waiting.take(null);
    }
    if (turns.size > 0) letIn();
    else if (counted.size === 0 && sweep) {
      clearInterval(sweep);
      sweep = null;
    }
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

    /** A place within about `ms`, or null; null as well soon after `signal` has fired. */
    take(target: string, ms: number, signal: AbortSignal): Promise<Place | null> {
      const now = this.takeNow(target);
      if (now || signal.aborted) return Promise.resolve(now);
      return new Promise((take) => {
        lineOf(target).waiting.push({ take, until: performance.now() + ms, signal });
        turns.add(target);
        sweep ??= setInterval(look, LOOK_MS).unref();
      });
    },
  };
}
