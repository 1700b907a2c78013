/** `npm start` as something to kill: the supervisor, whatever it has started, or all of it at once. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openHome } from '../../src/embedded/home.ts';
import { freePort } from '../../src/embedded/ports.ts';
import { postgresUrl } from '../../src/embedded/postgres.ts';
import { isAlive, type ProcessIdentity } from '../../src/embedded/process-identity.ts';
import type { LogLine } from '../support/processes.ts';
import { ADMIN_KEY, alive, errorsAmong, KINDS, type Kind, killQuietly, makeFolder, removeFolder, type Stage } from './stage.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const READY_WITHIN_MS = 120_000;

/** Starts `npm start`'s entry in a folder of its own. */
export async function openSupervisedStage(environment: NodeJS.ProcessEnv): Promise<Stage> {
  const folder = makeFolder();
  const home = openHome(folder);
  const [api, temporal, temporalUi, postgres] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const apiUrl = `http://127.0.0.1:${api}`;
  const settings = {
    PATH: environment.PATH,
    HOME: environment.HOME,
    ALMANAC_HOME: folder,
    PORT: String(api),
    ALMANAC_TEMPORAL_PORT: String(temporal),
    ALMANAC_TEMPORAL_UI_PORT: String(temporalUi),
    ALMANAC_POSTGRES_PORT: String(postgres),
    ALMANAC_BOOTSTRAP_KEY: ADMIN_KEY,
    RATE_LIMIT_PER_SECOND: '0',
    SWEEP_INTERVAL_S: '10',
  };

  let supervisor: { pid: number; ended: Promise<void> } | undefined;
  const said: string[] = [];
  async function start(): Promise<void> {
    const child = spawn(process.execPath, ['src/main-all-in-one.ts'], {
      cwd: ROOT,
      env: settings,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => said.push(String(text)));
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    supervisor = { pid: child.pid!, ended };
    alive.add(child.pid!);
    await untilReady(() => child.exitCode !== null);
  }

  async function untilReady(failed: () => boolean = () => false): Promise<void> {
    for (const until = Date.now() + READY_WITHIN_MS; Date.now() < until; await sleep(100)) {
      if (failed()) break;
      const answer = await fetch(`${apiUrl}/health/ready`, { signal: AbortSignal.timeout(3_000) }).catch(() => null);
      await answer?.text().catch(() => '');
      if (answer?.ok && KINDS.every((kind) => isUp(kind))) return;
    }
    throw new Error(`npm start did not come up: ${said.slice(-15).join('')}`);
  }

  const noted = (name: string): ProcessIdentity | null => {
    try {
      return JSON.parse(readFileSync(home.runFile(name), 'utf8')) as ProcessIdentity;
    } catch {
      return null;
    }
  };
  const isUp = (kind: Kind): boolean => {
    const identity = noted(kind);
    if (identity) alive.add(identity.pid);
    return identity !== null && isAlive(identity);
  };
  async function kill(pid: number, identity: ProcessIdentity | null): Promise<void> {
    killQuietly(pid);
    alive.delete(pid);
    while (identity && isAlive(identity)) await sleep(5);
  }
  async function killChild(kind: Kind): Promise<void> {
    const identity = noted(kind);
    if (identity) await kill(identity.pid, identity);
  }
  async function killSupervisor(): Promise<void> {
    const dying = supervisor!;
    await kill(dying.pid, null);
    await dying.ended;
  }

  await start();
  return {
    whats: [...KINDS, 'supervisor', 'everything'],
    strike(what) {
      if (what === 'servers') throw new Error('both servers at once are killed on the other stage');
      if (what === 'supervisor') return { name: what, kinds: KINDS, slowly: true, kill: killSupervisor, bringBack: start };
      if (what === 'everything') {
        // the supervisor first: it would bring back what it sees dying
        const kill = () => Promise.all([killSupervisor(), ...KINDS.map(killChild)]);
        return { name: what, kinds: KINDS, slowly: false, kill, bringBack: start };
      }
      return {
        name: `${what} under the supervisor`,
        kinds: [what],
        slowly: false,
        kill: () => killChild(what),
        bringBack: () => untilReady(),
      };
    },
    apiUrls: [apiUrl],
    databaseUrl: postgresUrl(folder, postgres),
    temporalAddress: `127.0.0.1:${temporal}`,
    folder,
    errors: () => ['api', 'worker', 'controller'].flatMap((name) => errorsAmong(name, linesOf(home.logFile(name)))),
    async close() {
      process.kill(supervisor!.pid, 'SIGTERM');
      await supervisor!.ended;
      for (const kind of KINDS) await killChild(kind);
      alive.clear();
      removeFolder(folder);
    },
  };
}

function linesOf(file: string): LogLine[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  return lines.map((text) => {
    try {
      return JSON.parse(text) as LogLine;
    } catch {
      return { msg: text };
    }
  });
}
