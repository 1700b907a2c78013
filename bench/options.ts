/** What `npm run bench -- …` was asked for. */
import { parseArgs } from 'node:util';
import { closest } from 'fastest-levenshtein';

/** The rows in the order they run; what is measured on an idle machine comes before what leaves work behind. */
export const ROW_NAMES = [
  'list',
  'create',
  'create-async',
  'execute',
  'pooled',
  'history',
  'lateness',
  'ledger',
  'freeze',
  'bulk',
  'start',
  'memory',
] as const;
export type RowName = (typeof ROW_NAMES)[number];

export type BenchOptions = {
  rows: RowName[];
  /** How often each side is measured, by turns. */
  rounds: number;
  help: boolean;
};

export const USAGE = `npm run bench [-- [row …] [--rounds N]]
  rows: ${ROW_NAMES.join(', ')} (all when none is named)
  --rounds N   measure both sides N times by turns (default 5)
  DATABASE_URL, TEMPORAL_ADDRESS   use these servers instead of embedded ones; databases and namespaces of the bench's own are made there and removed again`;

/** Thrown for arguments that mean nothing; the message says what does. */
export class BenchUsageError extends Error {
  override name = 'BenchUsageError';
}

/** @throws BenchUsageError */
export function parseBenchOptions(args: readonly string[]): BenchOptions {
  const { values, positionals } = parsed(args);
  for (const name of positionals) {
    if (!isRow(name))
      throw new BenchUsageError(`There is no row ${JSON.stringify(name)}; did you mean ${closest(name, [...ROW_NAMES])}?\n${USAGE}`);
  }
  const rounds = Number(values.rounds ?? '5');
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100) {
    throw new BenchUsageError(`--rounds ${values.rounds} is not a whole number from 1 to 100.\n${USAGE}`);
  }
  const rows = positionals.length === 0 ? [...ROW_NAMES] : ROW_NAMES.filter((name) => positionals.includes(name));
  return { rows, rounds, help: values.help ?? false };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { rounds: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    });
  } catch (error) {
    throw new BenchUsageError(`${(error as Error).message}\n${USAGE}`);
  }
}

const isRow = (name: string): name is RowName => (ROW_NAMES as readonly string[]).includes(name);
