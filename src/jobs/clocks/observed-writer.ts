/**
 * Writes observed generations in groups: while one statement is under way the next clocks gather, as in a database's group commit. A single create
 * waits for nobody; fifty at once share a few commits.
 */
import type { Pool } from '../../postgres.ts';
import { clockSetObservedIfUnmoved, clocksSetObservedIfUnmoved } from './clock-store.ts';

type Waiting = { id: string; generation: number; resolve: (written: boolean) => void; reject: (error: unknown) => void };

/** Returns a function that notes a generation as true in Temporal; false when the row has moved on or is gone. */
export function createObservedWriter(pool: Pool): (id: string, generation: number) => Promise<boolean> {
  let gathered: Waiting[] = [];
  let writing = false;

  async function writeGroup(group: Waiting[]): Promise<void> {
    // several callers may bring the same clock: one row of the statement each would lock it twice
    const newest = new Map(group.map((one) => [`${one.id} ${one.generation}`, one]));
    const written = group.length > 1 ? await clocksSetObservedIfUnmoved(pool, [...newest.values()]) : new Set<string>();
    for (const one of group) {
      if (written.has(one.id)) one.resolve(true);
      else clockSetObservedIfUnmoved(pool, one.id, one.generation).then(one.resolve, one.reject);
    }
  }

  async function drain(): Promise<void> {
    writing = true;
    while (gathered.length > 0) {
      const group = gathered;
      gathered = [];
      await writeGroup(group).catch((error: unknown) => {
        for (const one of group) one.reject(error);
      });
    }
    writing = false;
  }

  return (id, generation) =>
    new Promise<boolean>((resolve, reject) => {
      gathered.push({ id, generation, resolve, reject });
      if (!writing) void drain();
    });
}
