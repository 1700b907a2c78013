/** The long patience of workflows (semantics.md 18): durable pauses, so that nothing holds a task slot while Postgres is away. */
import { CancelledFailure, isCancellation, sleep } from '@temporalio/workflow';

export const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;

/** Repeats a statement until Postgres takes it: pauses of 1 s growing to 60 s. */
export async function patiently<T>(statement: () => Promise<T>): Promise<T> {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = longer(pauseMs)) {
    try {
      return await statement();
    } catch (error) {
      if (isCancellation(error) || error instanceof CancelledFailure) throw error;
      await sleep(jittered(pauseMs));
    }
  }
}

export const longer = (pauseMs: number): number => Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
export const jittered = (pauseMs: number): number => Math.round(pauseMs * (0.75 + Math.random() * 0.5));

/** @param at milliseconds since 1970. */
export async function sleepUntil(at: number): Promise<void> {
  const ms = at - Date.now();
  if (ms > 0) await sleep(ms);
}
