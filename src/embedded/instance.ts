/**
 * One instance per ALMANAC_HOME. A live one is refused by name; what a dead one left running (it was killed with -9) is recognised by pid and
 * start time and stopped before anything new is started. Nothing else is ever touched.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock } from './file-lock.ts';
import type { Home } from './home.ts';
import { NODE_STOP } from './node-child.ts';
import { POSTGRES_STOP } from './postgres.ts';
import { isAlive, type ProcessIdentity } from './process-identity.ts';
import { endProcess, type Step } from './server-process.ts';
import { TEMPORAL_STOP } from './temporal-server.ts';

/** Thrown when this ALMANAC_HOME is in use; the message names the process. */
export class InstanceRunningError extends Error {
  override name = 'InstanceRunningError';
}

/** Who runs on a home, for those who come later. */
type Note = ProcessIdentity & { stopping?: boolean; url?: string };
export type ChildName = 'api' | 'worker' | 'controller' | 'temporal' | 'postgres';

/** In the order in which they are stopped: first those that use the servers, then the servers. */
const STOP_ORDER: { names: ChildName[]; steps: Step[] }[] = [
  // Orphans know that their supervisor is gone and drain already; a new start does not wait long for them.
  { names: ['api', 'worker', 'controller'], steps: NODE_STOP.map((step) => ({ ...step, withinMs: 6_000 })) },
  { names: ['temporal'], steps: TEMPORAL_STOP },
  { names: ['postgres'], steps: POSTGRES_STOP },
];
const STOPPING_WITHIN_MS = 45_000;

export type Instance = {
  /** Notes that this child runs, so that the next start recognises it. Written at once, before anything can go wrong. */
  note: (name: ChildName, identity: ProcessIdentity) => void;
  forget: (name: ChildName) => void;
  noteUrl: (url: string) => void;
  noteStopping: () => void;
  release: () => void;
};

/**
 * Takes the home for this process. One that is just stopping is waited for.
 * @throws InstanceRunningError
 */
export async function claimInstance(home: Home, self: ProcessIdentity, say: (sentence: string) => void): Promise<Instance> {
  const file = home.runFile('supervisor');
  const release = await takeHome(home, say);
  const note: Note = { ...self };
  const write = () => writeWhole(file, note);
  write();
  return {
    note: (name, identity) => writeWhole(home.runFile(name), identity),
    forget: (name) => rmSync(home.runFile(name), { force: true }),
    noteUrl: (url) => {
      note.url = url;
      write();
    },
    noteStopping: () => {
      note.stopping = true;
      write();
    },
    release: () => {
      rmSync(file, { force: true });
      release();
    },
  };
}

async function takeHome(home: Home, say: (sentence: string) => void): Promise<() => void> {
  const until = Date.now() + STOPPING_WITHIN_MS;
  for (let told = false; ; told = true) {
    const taken = tryLock(home.lockFile);
    if ('release' in taken) return taken.release;
    const { pid } = taken.holder;
    const running = readNote<Note>(home.runFile('supervisor'));
    if (!running?.stopping || Date.now() > until) {
      throw new InstanceRunningError(
        `Almanac is running on ${home.folder} already: process ${pid}${running?.url ? `, ${running.url}` : ''}. ` +
          `Stop it (kill ${pid}), or give this one a folder of its own with ALMANAC_HOME.`,
      );
    }
    if (!told) say(`Process ${pid} is still stopping; waiting for it`);
    await sleep(100);
  }
}

/** Stops what an earlier start of this home left behind. @returns names of those that ran. */
export async function stopOrphans(home: Home, say: (sentence: string) => void): Promise<ChildName[]> {
  const found: ChildName[] = [];
  for (const { names, steps } of STOP_ORDER) {
    await Promise.all(
      names.map(async (name) => {
        const identity = readNote<ProcessIdentity>(home.runFile(name));
        if (identity && isAlive(identity)) {
          found.push(name);
          say(`An earlier start has left ${name} running (process ${identity.pid}); it is stopped first`);
          await endProcess(identity, steps);
        }
        rmSync(home.runFile(name), { force: true });
      }),
    );
  }
  return found;
}

function writeWhole(file: string, value: object): void {
  writeFileSync(`${file}.new`, JSON.stringify(value), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

function readNote<T>(file: string): T | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } catch {
    return null;
  }
}
