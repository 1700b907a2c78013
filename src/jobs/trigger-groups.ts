/**
 * Triggers share a statement and its commit: while one is under way the next ones gather, and each gets its own answer (semantics.md 16).
 * One by itself goes at once. What is wrong with one of them is its own: not found, disabled and paused are answers, and data that Postgres does not take makes
 * the statement fail, so that each is tried by itself.
 */
import type { Pool } from '../postgres.ts';
import { asJobError } from './errors.ts';
import type { TriggerPools } from './trigger-pools.ts';
import { type AdmittedTrigger, admitTriggers, type TriggerQuestion } from './trigger-store.ts';

const MOST_PER_STATEMENT = 250;
/** Nobody waits longer than this for a statement of others: one of them may wait for a lock. */
const GATHER_MS = 10;
/** Whoever has just been answered often asks again at once; those who wait already give them this time to come along: a statement costs as much as ten rows. */
const RETURN_MS = 2;
/** Statements of a team under way at once. */
const MOST_STATEMENTS = 6;

type Waiting = { question: TriggerQuestion; resolve: (admitted: AdmittedTrigger) => void; reject: (error: unknown) => void };
/** The triggers of one team. `expected`: with so many waiting there is nobody left to wait for. */
type Line = { waiting: Waiting[]; statements: number; expected: number; next: NodeJS.Immediate | null; later: NodeJS.Timeout | null };

export function createTriggerGroups({ pool, pools }: { pool: Pool; pools: TriggerPools }) {
  const lines = new Map<string, Line>();

  /** Admits in company with whoever else asks. Durable when it returns, and started by itself. */
  function admit(question: TriggerQuestion): Promise<AdmittedTrigger> {
    const line = lines.get(question.team) ?? { waiting: [], statements: 0, expected: 0, next: null, later: null };
    lines.set(question.team, line);
    return new Promise((resolve, reject) => {
      line.waiting.push({ question, resolve, reject });
      // in the next turn: who was read from the network together goes together
      if (line.statements > 0) line.later ??= setTimeout(send, GATHER_MS, line);
      else if (line.waiting.length >= line.expected) line.next ??= setImmediate(send, line);
      else line.later ??= setTimeout(send, RETURN_MS, line);
    });
  }

  function send(line: Line): void {
    if (line.next) clearImmediate(line.next);
    if (line.later) clearTimeout(line.later);
    line.next = line.later = null;
    line.expected = 0;
    if (line.statements >= MOST_STATEMENTS) return;
    const together = line.waiting.splice(0, MOST_PER_STATEMENT);
    if (together.length === 0) return;
    line.statements++;
    void decide(together).finally(() => ended(line, together.length));
    if (line.waiting.length > 0) line.later = setTimeout(send, GATHER_MS, line);
  }

  function ended(line: Line, count: number): void {
    line.statements--;
    if (line.statements > 0) {
      if (line.waiting.length > 0) line.later ??= setTimeout(send, GATHER_MS, line);
      return;
    }
    if (line.later) clearTimeout(line.later);
    line.later = null;
    line.expected = count > 1 ? Math.min(line.waiting.length + count, MOST_PER_STATEMENT) : 0;
    if (line.waiting.length >= line.expected && line.waiting.length > 0) line.next ??= setImmediate(send, line);
    // without anybody who waits nothing is expected any more after this
    else if (line.expected > 0) line.later = setTimeout(send, RETURN_MS, line);
  }

  async function decide(together: readonly Waiting[]): Promise<void> {
    const questions = together.map((one) => one.question);
    const offered = pools.offer(questions[0]!.team);
    try {
      const admitted = await admitTriggers(pool, questions, { ...offered, audit: true });
      pools.giveBack(offered, questions, admitted);
      for (const [nth, one] of together.entries()) one.resolve(admitted[nth]!);
    } catch (error) {
      pools.giveBack(offered);
      if (together.length > 1 && asJobError(error)?.kind !== 'unavailable') for (const one of together) await decide([one]);
      else for (const one of together) one.reject(error);
    }
  }

  return { admit };
}
