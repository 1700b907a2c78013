/**
 * Group commit: requests of a team that come together share a statement and its commit; while one is under way the next ones gather. One by itself goes at once.
 * What is wrong with one of them is its own: refusals are answers, and data that Postgres does not take makes the statement fail, so that each is tried by itself.
 */
import { asJobError } from './errors.ts';

const MOST_PER_STATEMENT = 250;
/** Nobody waits longer than this for a statement of others: one of them may wait for a lock. */
const GATHER_MS = 10;
/** Statements of a team under way at once. */
const MOST_STATEMENTS = 6;

type Waiting<Question, Answer> = { question: Question; resolve: (answer: Answer) => void; reject: (error: unknown) => void };
type Line<Question, Answer> = {
  waiting: Waiting<Question, Answer>[];
  statements: number;
  next: NodeJS.Immediate | null;
  late: NodeJS.Timeout | null;
};

/**
 * @param decide writes the questions of one team, at least one; answers in their order. Durable when it returns.
 * @returns asks in company with whoever else does.
 */
export function createCommitGroups<Question, Answer>(
  teamOf: (question: Question) => string,
  decide: (questions: readonly Question[]) => Promise<readonly Answer[]>,
): (question: Question) => Promise<Answer> {
  const lines = new Map<string, Line<Question, Answer>>();

  function lineOf(team: string): Line<Question, Answer> {
    const line = lines.get(team) ?? { waiting: [], statements: 0, next: null, late: null };
    lines.set(team, line);
    return line;
  }

  function sendLate(line: Line<Question, Answer>): void {
    line.late = null;
    if (line.statements < MOST_STATEMENTS) send(line);
  }

  function send(line: Line<Question, Answer>): void {
    line.next = null;
    const together = line.waiting.splice(0, MOST_PER_STATEMENT);
    if (together.length === 0) return;
    line.statements++;
    void answer(together).finally(() => {
      line.statements--;
      if (line.waiting.length > 0) line.next ??= setImmediate(send, line);
      else if (line.late) {
        clearTimeout(line.late);
        line.late = null;
      }
    });
    if (line.waiting.length > 0) line.late ??= setTimeout(sendLate, GATHER_MS, line);
  }

  async function answer(together: readonly Waiting<Question, Answer>[]): Promise<void> {
    try {
      const answers = await decide(together.map((one) => one.question));
      for (const [nth, one] of together.entries()) one.resolve(answers[nth]!);
    } catch (error) {
      if (together.length > 1 && asJobError(error)?.kind !== 'unavailable') for (const one of together) await answer([one]);
      else for (const one of together) one.reject(error);
    }
  }

  return (question) => {
    const line = lineOf(teamOf(question));
    return new Promise((resolve, reject) => {
      line.waiting.push({ question, resolve, reject });
      // in the next turn: who was read from the network together goes together
      if (line.statements === 0) line.next ??= setImmediate(send, line);
      else line.late ??= setTimeout(sendLate, GATHER_MS, line);
    });
  };
}
