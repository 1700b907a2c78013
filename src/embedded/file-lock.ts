/** A lock between processes: a file with the holder's identity. What a dead holder left behind is taken over. */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { identityOf, isAlive, type ProcessIdentity } from './process-identity.ts';

const AGAIN_MS = 200;

/** Takes the lock now. @returns how to give it back, or the live process that has it. */
export function tryLock(file: string): { release: () => void } | { holder: ProcessIdentity } {
  const mine = `${file}.${process.pid}`;
  writeFileSync(mine, JSON.stringify(identityOf(process.pid)), { mode: 0o600 });
  try {
    for (;;) {
      try {
        // A link is made whole or not at all: nobody ever reads a half-written lock.
        linkSync(mine, file);
        return { release: () => rmSync(file, { force: true }) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = holderOf(file);
      if (holder === 'gone') continue;
      if (holder && isAlive(holder)) return { holder };
      takeAway(file, holder);
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Waits until the lock is free and takes it. `onWait` is told once who has it. */
export async function lock(file: string, onWait: (holder: ProcessIdentity) => void, signal?: AbortSignal): Promise<() => void> {
  for (let told = false; ; told = true) {
    const taken = tryLock(file);
    if ('release' in taken) return taken.release;
    if (!told) onWait(taken.holder);
    await sleep(AGAIN_MS, undefined, signal ? { signal } : {});
  }
}

function holderOf(file: string): ProcessIdentity | null | 'gone' {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ProcessIdentity;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'gone' : null;
  }
}

/** Moves a dead holder's lock aside. When a third process was quicker and this is its new lock, it gets it back. */
function takeAway(file: string, dead: ProcessIdentity | null): void {
  const aside = `${file}.dead.${process.pid}`;
  try {
    renameSync(file, aside);
    const moved = holderOf(aside);
    if (moved !== 'gone' && moved?.began !== dead?.began) linkSync(aside, file);
  } catch {
    // Another process took it away first.
  } finally {
    rmSync(aside, { force: true });
  }
}
