/**
 * Tells a process of ours from a stranger that got its number later: the pid together with the moment the process began.
 * On Linux that is /proc/<pid>/stat's start time (in ticks since boot, so the boot's id goes with it), elsewhere what `ps` says.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export type ProcessIdentity = { pid: number; began: string };

/** Who this pid is now, or null when there is no such process (a zombie is none). */
export function identityOf(pid: number): ProcessIdentity | null {
  const began = process.platform === 'linux' ? beganOnLinux(pid) : beganByPs(pid);
  return began === null ? null : { pid, began };
}

/** True while the very process runs that was recorded. */
export const isAlive = (identity: ProcessIdentity): boolean => identityOf(identity.pid)?.began === identity.began;

function beganOnLinux(pid: number): string | null {
  try {
    // The name, in brackets, may hold spaces and brackets itself: fields are counted from the last one.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    if (state === 'Z' || state === 'X') return null;
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}:${fields[19]}`;
  } catch {
    return null;
  }
}

function beganByPs(pid: number): string | null {
  try {
    const [state = '', ...began] = execFileSync('ps', ['-o', 'state=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .trim()
      .split(/\s+/);
    return state.startsWith('Z') || began.length === 0 ? null : began.join(' ');
  } catch {
    return null;
  }
}
