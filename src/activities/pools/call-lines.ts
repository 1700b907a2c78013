/**
 * Who may call next. All pooled calls of a worker share a number of places, and each target (a service, a host, a handler) has a number of its own, so that a target
 * that hangs holds up only its own line (semantics.md 20). A call that lasts is not counted against the others any more: it keeps its target's place only.
 * Among those that wait the urgent go first, and targets take turns.
 */

/** A call's place; `end` it when the call is over. */
export type Place = { end: () => void };
export type CallLines = ReturnType<typeof createCallLines>;

type Waiting = { priority: number; take: (place: Place | null) => void; until: number; signal: AbortSignal };
/** How often calls that last and waits that are over are looked for: one timer for all of them. */
const LOOK_MS = 100;
const MOST_URGENT = 1;

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

  /** Whose turn it is: the target with the most urgent call of those that have room. */
  function nextTarget(): string | null {
    let found: string | null = null;
    let priority = Number.POSITIVE_INFINITY;
    for (const target of turns) {
      const line = lineOf(target);
      const first = line.waiting[0]!.priority;
      if (first >= priority || !hasRoom(line)) continue;
      found = target;
      priority = first;
      if (first <= MOST_URGENT) break;
    }
    return found;
  }

  function letIn(): void {
    while (counted.size < places) {
      const target = nextTarget();
      if (target === null) return;
      const line = lineOf(target);
      const next = line.waiting.shift()!;
      turns.delete(target);
      // the others first, before it is this one's turn again
      if (line.waiting.length > 0) turns.add(target);
      next.take(occupy(target, line));
    }
  }

  /** Behind everybody who is as urgent. */
  function join(target: string, line: Line, waiting: Waiting): void {
    const place = line.waiting.findLastIndex((other) => other.priority <= waiting.priority);
    line.waiting.splice(place + 1, 0, waiting);
    turns.add(target);
  }

  return {
    /** A place now, or null. */
    takeNow(target: string): Place | null {
      const line = lineOf(target);
      return line.waiting.length === 0 && hasRoom(line) ? occupy(target, line) : null;
    },

    /** A place within about `ms`, or null; null as well soon after `signal` has fired. `priority`: 1 is the most urgent. */
    take(target: string, priority: number, ms: number, signal: AbortSignal): Promise<Place | null> {
      const now = this.takeNow(target);
      if (now || signal.aborted) return Promise.resolve(now);
      return new Promise((take) => {
        join(target, lineOf(target), { priority, take, until: performance.now() + ms, signal });
        sweep ??= setInterval(look, LOOK_MS).unref();
      });
    },
  };
}
