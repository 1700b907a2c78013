/** Which part of a pool's workflow makes a call, and in which process: what a row says of its claim, so that the calls of a dead worker are known at once. */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** A pid means something only among those who count alike: the same host since the same start, the same namespace of pids. Hosts may have the same name. */
const PLACE = `${hostname()}/${bootId()}/${pidNamespace()}`;
const CHUNK = /^(?<activity>.+)@(?<place>.+)\/(?<pid>\d+)$/;

/** `<activity id>@<host>/<boot>/<pid namespace>/<pid>` */
export const chunkOf = (activityId: string): string => `${activityId}@${PLACE}/${process.pid}`;

/** True when the process that made this claim is certainly gone; false when it lives, or nobody can tell from here. */
export function isOfDeadProcess(chunk: string): boolean {
  const { place, pid } = CHUNK.exec(chunk)?.groups ?? {};
  if (place !== PLACE) return false;
  // whoever had this process' number before is gone
  if (Number(pid) === process.pid) return true;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as { code?: string }).code === 'ESRCH';
  }
}

/** What tells two machines apart whose name is the same, where the kernel says it: the first digits of a random number made when it started. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
  } catch {
    return 'boot';
  }
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid').replaceAll(/\D/g, '');
  } catch {
    return 'pids';
  }
}
