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
/** Statements of a team under way at once. */
const MOST_STATEMENTS = 6;

type Waiting = { question: TriggerQuestion; resolve: (admitted: AdmittedTrigger) => void; reject: (error: unknown) => void };
type Line = { waiting: Waiting[]; statements: number; next: NodeJS.Immediate | null; late: NodeJS.Timeout | null };

export function createTriggerGroups({ pool, pools }: { pool: Pool; pools: TriggerPools }) {
  const lines = new Map<string, Line>();

  /** Admits in company with whoever else asks. Durable when it returns; a group that it has joined is started by itself. */
  function admit(question: TriggerQuestion): Promise<AdmittedTrigger> {
    const line = lineOf(question.team);
    return new Promise((resolve, reject) => {
      line.waiting.push({ question, resolve, reject });
      // in the next turn: who was read from the network together goes together
      if (line.statements === 0) line.next ??= setImmediate(send, line);
      else line.late ??= setTimeout(sendLate, GATHER_MS, line);
    });
  }

  function lineOf(team: string): Line {
    const line = lines.get(team) ?? { waiting: [], statements: 0, next: null, late: null };
    lines.set(team, line);
    return line;
  }

  function sendLate(line: Line): void {
    line.late = null;
    if (line.statements < MOST_STATEMENTS) send(line);
  }

  function send(line: Line): void {
    line.next = null;
    const together = line.waiting.splice(0, MOST_PER_STATEMENT);
    if (together.length === 0) return;
    line.statements++;
    void decide(together).finally(() => {
      line.statements--;
      if (line.waiting.length > 0) line.next ??= setImmediate(send, line);
      else if (line.late) {
        clearTimeout(line.late);
        line.late = null;
      }
    });
    if (line.waiting.length > 0) line.late ??= setTimeout(sendLate, GATHER_MS, line);
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
