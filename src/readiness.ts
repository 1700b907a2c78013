/** Whether a process can do its work now: named checks, each bounded, the answer kept for a moment so that probes cost nothing. */

/** One thing a process needs. `run` resolves with a word about it, or rejects with what is wrong. */
export type Check = { name: string; run: () => Promise<string> };
export type CheckResult = { name: string; ok: boolean; detail: string; ms: number };
export type ReadinessResult = { ok: boolean; checks: CheckResult[] };

export type Readiness = {
  /** Runs all checks (≤ 2 s each, at once), or gives the answer of at most a second ago. */
  check: () => Promise<ReadinessResult>;
  /** From now on not ready: the process is stopping, new requests belong elsewhere. */
  drain: () => void;
  isDraining: () => boolean;
};

/** @param timing milliseconds: how long an answer is kept, and how long a check may take. */
export function createReadiness(checks: Check[], timing = { keepMs: 1_000, timeoutMs: 2_000 }): Readiness {
  let draining = false;
  let last: { at: number; result: Promise<ReadinessResult> } | undefined;

  const check = async (): Promise<ReadinessResult> => {
    if (draining) return { ok: false, checks: [{ name: 'process', ok: false, detail: 'is stopping', ms: 0 }] };
    const now = performance.now();
    if (!last || now - last.at > timing.keepMs) last = { at: now, result: runAll(checks, timing.timeoutMs) };
    return last.result;
  };
  return {
    check,
    drain: () => {
      draining = true;
    },
    isDraining: () => draining,
  };
}

async function runAll(checks: Check[], timeoutMs: number): Promise<ReadinessResult> {
  const results = await Promise.all(checks.map((check) => runOne(check, timeoutMs)));
  return { ok: results.every((result) => result.ok), checks: results };
}

async function runOne(check: Check, timeoutMs: number): Promise<CheckResult> {
  const startedAt = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  const done = (ok: boolean, detail: string): CheckResult => ({
    name: check.name,
    ok,
    detail,
    ms: Math.round(performance.now() - startedAt),
  });
  try {
    return done(true, await Promise.race([check.run(), late]));
  } catch (error) {
    return done(false, (error instanceof Error && error.message) || 'failed');
  } finally {
    clearTimeout(timer);
  }
}
