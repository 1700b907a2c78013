/** A process with all that it has started, as Linux shows it under /proc. */
import { readdirSync, readFileSync } from 'node:fs';

/** The process itself and its descendants; those whose parent has died are somebody else's. */
export function treeOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const parent = parentOf(Number(entry));
    if (parent !== null) children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  const tree: number[] = [];
  for (const waiting = [root]; waiting.length > 0; ) {
    const pid = waiting.pop()!;
    tree.push(pid);
    waiting.push(...(children.get(pid) ?? []));
  }
  return tree;
}

function parentOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name stands in parentheses and may hold blanks and parentheses itself.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return null;
  }
}

/** Memory of one process in MiB: its own pages, and its share of those it has in common with others (PSS). 0 when it has ended. */
export function pssOf(pid: number): number {
  try {
    return pssIn(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')) / 1_024;
  } catch {
    return 0;
  }
}

/** KiB of the line `Pss:` in a smaps_rollup. */
export function pssIn(rollup: string): number {
  const kib = /^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1];
  if (kib === undefined) throw new Error('no Pss in smaps_rollup');
  return Number(kib);
}

/** The command's first words, for a list that people read. */
export function nameOf(pid: number): string {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return words.replace(/\S*\/(?=[^/\s]+)/g, '').slice(0, 60);
  } catch {
    return '?';
  }
}
