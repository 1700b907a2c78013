/** Lines of an archive as the rows they were. An older archive lacks the columns that were added since. */
import type { AttemptRow } from '../execution-queries.ts';
import type { ExecutionRow } from '../execution-view.ts';

type Line = Record<string, unknown> & { partition_at: string; id: string };
const TIMES = ['partition_at', 'slot', 'due_at', 'created_at', 'started_at', 'finished_at', 'cancel_requested_at'] as const;

/** What every row has that is younger than its column. */
const ABSENT = { chunk: null, label: null, operation_id: null, freeze_id: null, freeze_reason: null };

export function executionOfLine(text: string): ExecutionRow {
  const line = JSON.parse(text) as Line;
  const times = Object.fromEntries(TIMES.map((name) => [name, typeof line[name] === 'string' ? new Date(line[name]) : null]));
  return { ...ABSENT, ...line, ...times, generation: String(line.generation) } as unknown as ExecutionRow;
}

export function attemptOfLine(text: string): AttemptRow & { execution_id: string } {
  const line = JSON.parse(text) as Record<string, unknown>;
  return {
    ...(line as unknown as AttemptRow & { execution_id: string }),
    started_at: new Date(line.started_at as string),
    finished_at: new Date(line.finished_at as string),
  };
}

const BEGIN = '{"partition_at":"';
/** The time of a line, milliseconds, without parsing the rest; null when it does not begin with it. */
export const timeOfLine = (text: string): number | null =>
  text.startsWith(BEGIN) ? Date.parse(text.slice(BEGIN.length, text.indexOf('"', BEGIN.length))) : null;

/** True when the line may be of this id, which is looked up without parsing every line. */
export const mayBeOf = (text: string, id: string): boolean => text.includes(`"${id}"`);
