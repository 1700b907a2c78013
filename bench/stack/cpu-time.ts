/** Processor time of processes: unlike a rate it says the same on a machine where others work too. Linux only; elsewhere nothing is said. */
import { readFileSync } from 'node:fs';
import { treeOf } from './process-tree.ts';

/** The kernel counts in hundredths of a second (USER_HZ is 100 on every Linux of today). */
const MS_PER_TICK = 10;

/** Milliseconds of user and system time that each tree has used so far, by name. */
export function cpuTimes(roots: Record<string, number | undefined>): Record<string, number> {
  if (process.platform !== 'linux') return {};
  return Object.fromEntries(
    Object.entries(roots).flatMap(([name, root]) =>
      root === undefined ? [] : [[name, treeOf(root).reduce((sum, pid) => sum + cpuOf(pid), 0)]],
    ),
  );
}

function cpuOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Behind the name in parentheses: utime, stime and those of children that have ended, as fields 12 to 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0) * MS_PER_TICK;
  } catch {
    return 0;
  }
}

/** Adds up what several stretches of work have cost, per piece of work. */
export function cpuLedger(roots: Record<string, number | undefined>) {
  const spent: Record<string, number> = {};
  let pieces = 0;
  return {
    around: async <T>(work: () => Promise<T>, piecesIn: (result: T) => number): Promise<T> => {
      const before = cpuTimes(roots);
      const result = await work();
      const after = cpuTimes(roots);
      for (const name in after) spent[name] = (spent[name] ?? 0) + after[name]! - (before[name] ?? 0);
      pieces += piecesIn(result);
      return result;
    },
    /** `api 2.1, temporal 20.3 = 22.4 ms`. */
    perPiece: (): string => {
      const each = Object.entries(spent).map(([name, ms]) => ({ name, ms: ms / pieces }));
      const total = each.reduce((sum, { ms }) => sum + ms, 0);
      return `${each.map(({ name, ms }) => `${name} ${ms.toFixed(1)}`).join(' + ')} = ${total.toFixed(1)} ms`;
    },
  };
}
