/**
 * Group commit: requests of a team that come together share a statement and its commit; while one is under way the next ones gather. One by itself goes at once.
 * What is wrong with one of them is its own: refusals are answers; data that Postgres does not take, or a deadlock, makes the statement fail, and then each is tried by itself.
 */
import { isPostgresAway } from '../postgres.ts';

const MOST_PER_STATEMENT = 250;
/** Nobody waits longer than this for a statement of others: one of them may wait for a lock. */
const GATHER_MS = 10;
/** Whoever has just been answered often asks again at once; the next statement gives them this time to come along, because it costs as much as ten of its rows. */
const RETURN_MS = 2;
/** Statements of a team under way at once. */
const MOST_STATEMENTS = 6;

type Waiting<Question, Answer> = { question: Question; resolve: (answer: Answer) => void; reject: (error: unknown) => void };
/** The requests of one team. `expected`: when so many wait there is nobody left to wait for. */
type Line<Question, Answer> = {
  waiting: Waiting<Question, Answer>[];
  statements: number;
  expected: number;
  next: NodeJS.Immediate | null;
  later: NodeJS.Timeout | null;
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
    const line = lines.get(team) ?? { waiting: [], statements: 0, expected: 0, next: null, later: null };
    lines.set(team, line);
    return line;
  }

  function send(line: Line<Question, Answer>): void {
    if (line.next) clearImmediate(line.next);
    if (line.later) clearTimeout(line.later);
    line.next = null;
    line.later = null;
    line.expected = 0;
    if (line.waiting.length === 0 || line.statements >= MOST_STATEMENTS) return;
    const together = line.waiting.splice(0, MOST_PER_STATEMENT);
    line.statements++;
    void answer(together).finally(() => {
      line.statements--;
      plan(line, together.length);
    });
    if (line.waiting.length > 0) line.later = setTimeout(send, GATHER_MS, line);
  }

  /** When the next statement goes, now that one with so many has ended. */
  function plan(line: Line<Question, Answer>, answered: number): void {
    if (line.statements > 0) {
      if (line.waiting.length > 0) line.later ??= setTimeout(send, GATHER_MS, line);
      return;
    }
    if (line.later) clearTimeout(line.later);
    line.later = null;
    line.expected = answered > 1 ? Math.min(line.waiting.length + answered, MOST_PER_STATEMENT) : 0;
    // without anybody who waits, nobody is expected any more after this
    if (line.expected > line.waiting.length) line.later = setTimeout(send, RETURN_MS, line);
    else if (line.waiting.length > 0) line.next ??= setImmediate(send, line);
  }

  async function answer(together: readonly Waiting<Question, Answer>[]): Promise<void> {
    try {
      const answers = await decide(together.map((one) => one.question));
      for (const [nth, one] of together.entries()) one.resolve(answers[nth]!);
    } catch (error) {
      if (together.length > 1 && !isPostgresAway(error)) for (const one of together) await answer([one]);
      else for (const one of together) one.reject(error);
    }
  }

  return (question) => {
    const line = lineOf(teamOf(question));
    return new Promise((resolve, reject) => {
      line.waiting.push({ question, resolve, reject });
      if (line.statements > 0) line.later ??= setTimeout(send, GATHER_MS, line);
      // in the next turn: who was read from the network together goes together
      else if (line.waiting.length >= line.expected) line.next ??= setImmediate(send, line);
      else line.later ??= setTimeout(send, RETURN_MS, line);
    });
  };
}
