/** What the bench says: a table for people, the same as JSON for machines. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Machine } from './machine.ts';
import type { RowName } from './options.ts';
import type { Readings } from './rounds.ts';

export type Bound = { atLeast: number } | { atMost: number };

/** One line of the table. */
export type Line = {
  what: string;
  unit: string;
  ours: Readings | number;
  /** What ours is measured against, in the same unit. */
  beside?: { name: string; value: Readings | number };
  /** Ours / beside, round by round. */
  ratio?: Readings;
  /** Holds for the ratio's median when there is one, else for the median of ours. */
  bound?: Bound;
};

export type RowResult = { row: RowName; seconds: number; lines: Line[]; facts: Record<string, string | number> };
export type Report = {
  startedAt: string;
  finishedAt: string;
  rounds: number;
  machine: Machine;
  machineAtEnd: Pick<Machine, 'loadAverage' | 'freeMiB'>;
  rows: RowResult[];
};

/** Undefined for a line without a bound. */
export function holds({ ours, ratio, bound }: Line): boolean | undefined {
  if (!bound) return undefined;
  const value = ratio ? ratio.median : typeof ours === 'number' ? ours : ours.median;
  return 'atLeast' in bound ? value >= bound.atLeast : value <= bound.atMost;
}

const HEAD = ['row', 'what', 'ours', 'beside', 'ratio', 'limit', ''];

export function tableOf(rows: readonly RowResult[]): string {
  const cells = rows.flatMap(({ row, lines }) => lines.map((line) => cellsOf(row, line)));
  const widths = HEAD.map((head, column) => Math.max(head.length, ...cells.map((line) => line[column]!.length)));
  const print = (line: readonly string[]) =>
    line
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd();
  return [print(HEAD), print(widths.map((width) => '-'.repeat(width))), ...cells.map(print)].join('\n');
}

function cellsOf(row: string, line: Line): string[] {
  const verdict = holds(line);
  return [
    row,
    `${line.what}${line.unit ? ` [${line.unit}]` : ''}`,
    textOf(line.ours),
    line.beside ? `${textOf(line.beside.value)} ${line.beside.name}` : '',
    line.ratio ? textOf(line.ratio) : '',
    line.bound ? ('atLeast' in line.bound ? `>= ${number(line.bound.atLeast)}` : `<= ${number(line.bound.atMost)}`) : '',
    verdict === undefined ? '' : verdict ? 'ok' : 'MISSED',
  ];
}

const textOf = (value: Readings | number): string => {
  if (typeof value === 'number') return number(value);
  return value.values.length === 1 ? number(value.median) : `${number(value.median)} (${number(value.min)}–${number(value.max)})`;
};

/** Three significant digits are all that a measurement here can carry. */
const number = (value: number): string =>
  Number.isFinite(value)
    ? Math.abs(value) >= 100
      ? Math.round(value).toLocaleString('en-US')
      : String(Number(value.toPrecision(3)))
    : '–';

export async function writeReport(file: string, report: Report): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
}
