/** Knowing a process again: a pid alone may belong to somebody else by now, pid and start time together do not. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export type ProcessIdentity = { pid: number; startedAt: string };

/** The kernel's own mark of when a process began; null when there is no such process. */
export function startOf(pid: number): string | null {
  try {
    if (process.platform === 'linux') {
      // Field 22 of /proc/<pid>/stat (proc(5)); the name in field 2 may hold blanks and parentheses.
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return fields[0] === 'Z' ? null : (fields[19] ?? null);
    }
    return (
      execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim() || null
    );
  } catch {
    return null;
  }
}

export const identityOf = (pid: number): ProcessIdentity => ({ pid, startedAt: startOf(pid) ?? '' });
export const isAlive = ({ pid, startedAt }: ProcessIdentity): boolean => startedAt !== '' && startOf(pid) === startedAt;

/** Ends a process that is known to be ours: `signal` first, SIGKILL after the grace. Settles when it is gone. */
export async function endProcess(identity: ProcessIdentity, signal: NodeJS.Signals, graceMs: number): Promise<void> {
  const send = (sent: NodeJS.Signals) => {
    try {
      if (isAlive(identity)) process.kill(identity.pid, sent);
    } catch {
      // gone between the look and the signal
    }
  };
  send(signal);
  for (const until = Date.now() + graceMs; isAlive(identity) && Date.now() < until; ) await sleep(20);
  send('SIGKILL');
  while (isAlive(identity)) await sleep(20);
}
