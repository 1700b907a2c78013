/** The short patience of a statement inside an activity; the long one is the workflow's (semantics.md 18). */
import { setTimeout as sleep } from 'node:timers/promises';
import { isPostgresAway } from '../postgres.ts';

const PATIENCE_MS = 5_000;
const PAUSE_MS = 200;

/** Repeats `statement` for up to five seconds while Postgres is away, then lets its error through. Other errors pass at once. */
export async function withPatience<T>(statement: () => Promise<T>): Promise<T> {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await statement();
    } catch (error) {
      if (!isPostgresAway(error) || Date.now() + PAUSE_MS > until) throw error;
      await sleep(PAUSE_MS);
    }
  }
}
