/** A supervisor on a home of its own, watched from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { removePostgresPlace } from '../../src/embedded/postgres-place.ts';
import { isAlive, type ProcessIdentity } from '../../src/embedded/process-identity.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const ENOUGH_MS = 90_000;
export const CHILDREN = ['postgres', 'temporal', 'api', 'worker', 'controller'] as const;
export type ChildName = (typeof CHILDREN)[number];
export type Line = Record<string, unknown> & { msg?: string };

export type Supervised = {
  pid: number;
  lines: Line[];
  /** Settles with the first line, past or future, that fits. Rejects when the supervisor ends without it. */
  line: (fits: RegExp) => Promise<Line>;
  ended: Promise<number | null>;
  signal: (signal: NodeJS.Signals) => void;
};

/** A folder for one instance. `remove` takes it away, with whatever of it still runs. */
export function temporaryHome() {
  const folder = mkdtempSync(path.join(tmpdir(), 'almanac-home-'));
  chmodSync(folder, 0o711);
  const identity = (name: ChildName): ProcessIdentity | null => {
    const file = path.join(folder, 'run', `${name}.json`);
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as ProcessIdentity) : null;
  };
  return {
    folder,
    identity,
    /** Those of its children that run now. */
    alive: () => CHILDREN.filter((name) => isAlive(identity(name) ?? { pid: 0, began: '' })),
    /** What a stand-in was told, newest first. */
    settingsOf: (name: ChildName): Record<string, string> => {
      const lines = readFileSync(path.join(folder, 'logs', `${name}.log`), 'utf8')
        .trim()
        .split('\n')
        .reverse();
      return JSON.parse(lines.find((line) => line.includes('"msg":"settings"')) ?? '{}');
    },
    remove: async () => {
      for (const name of CHILDREN) {
        const left = identity(name);
        if (left && isAlive(left)) process.kill(left.pid, name === 'postgres' ? 'SIGQUIT' : 'SIGKILL');
        await until(() => !left || !isAlive(left));
      }
      removePostgresPlace(folder);
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}
export type Home = ReturnType<typeof temporaryHome>;

export function supervise(home: Home, settings: Record<string, string> = {}, worker?: string): Supervised {
  const child: ChildProcess = spawn(process.execPath, ['test/embedded/fixtures/supervisor.ts', ...(worker ? [worker] : [])], {
    cwd: ROOT,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      ...(process.env.XDG_CACHE_HOME ? { XDG_CACHE_HOME: process.env.XDG_CACHE_HOME } : {}),
      ALMANAC_HOME: home.folder,
      PORT: '0',
      ALMANAC_TEMPORAL_PORT: '0',
      ALMANAC_TEMPORAL_UI_PORT: '0',
      ...settings,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: Line[] = [];
  for (const stream of [child.stdout!, child.stderr!]) {
    createInterface({ input: stream }).on('line', (text) => lines.push(text.startsWith('{') ? (JSON.parse(text) as Line) : { msg: text }));
  }
  let over = false;
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve)).finally(() => {
    over = true;
  });
  const find = (fits: RegExp) => lines.find(({ msg }) => fits.test(msg ?? ''));
  return {
    pid: child.pid!,
    lines,
    ended,
    signal: (signal) => void child.kill(signal),
    line: async (fits) => {
      await until(() => find(fits) !== undefined || over);
      const found = find(fits);
      if (!found) throw new Error(`no line like ${fits}; the last ones: ${JSON.stringify(lines.slice(-5))}`);
      return found;
    },
  };
}

export async function until(true_: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + ENOUGH_MS; !(await true_()); await sleep(25)) {
    if (Date.now() > end) throw new Error(`not within ${ENOUGH_MS} ms: ${true_}`);
  }
}
