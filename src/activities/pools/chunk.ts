/** Which part of a pool's workflow makes a call, and in which process: what a row says of its claim, so that the calls of a dead worker are known at once. */
import { readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** A pid means something only among those who count alike: the same host, the same namespace of pids. */
const PLACE = `${hostname()}/${pidNamespace()}`;
const CHUNK = /^(?<activity>.+)@(?<place>.+)\/(?<pid>\d+)$/;

/** `<activity id>@<host>/<pid namespace>/<pid>` */
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

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid').replaceAll(/\D/g, '');
  } catch {
    return 'pids';
  }
}
