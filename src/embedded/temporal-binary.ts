/**
 * Finds the `temporal` command, or gets it, in this order: on PATH; in the per-user cache; by the official download; by building it with Go.
 * (An address of a running server, TEMPORAL_ADDRESS, comes before all of these and is the caller's business.)
 */
import { spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { cacheFolder } from './cache-folder.ts';
import { lock } from './file-lock.ts';
import { run } from './run.ts';

/**
 * The version that both ways of getting it give. It is the newest that `go install` can build: the go.mod of later ones has a local
 * `replace`, which `go install` refuses.
 */
export const TEMPORAL_VERSION = '1.5.1';
const MODULE = `github.com/temporalio/cli/cmd/temporal@v${TEMPORAL_VERSION}`;
const DOWNLOAD = 'https://temporal.download/cli/archive';
/** Where Go's own installers put it, often without adding it to PATH. */
const GO_FOLDERS = ['/usr/local/go/bin', '/opt/homebrew/bin', '/usr/lib/go/bin'];
const ANSWER_WITHIN_MS = 10_000;
const DOWNLOAD_WITHIN_MS = 300_000;

export type Progress = (sentence: string) => void;
export type FindOptions = {
  environment: NodeJS.ProcessEnv;
  progress: Progress;
  signal?: AbortSignal;
  /** Where the archives are, and where Go may lie beside PATH; given by tests alone. */
  download?: string;
  goFolders?: string[];
};

/** Thrown when every way failed; the message names the four ways and what went wrong with each. */
export class TemporalMissingError extends Error {
  override name = 'TemporalMissingError';
}

/**
 * Path of a `temporal` command that runs. Two processes at once wait for each other; the result is kept per user, not per checkout.
 * @throws TemporalMissingError
 */
export async function findTemporal(options: FindOptions): Promise<string> {
  const onPath = await temporalOnPath(options.environment);
  if (onPath) return onPath;
  const folder = cacheFolder(options.environment);
  const cached = path.join(folder, `temporal-${TEMPORAL_VERSION}-${process.platform}-${process.arch}`);
  if (await runs(cached)) return cached;

  mkdirSync(folder, { recursive: true });
  const release = await lock(
    `${cached}.lock`,
    ({ pid }) => options.progress(`Another process (${pid}) is getting the Temporal server; waiting for it`),
    options.signal,
  );
  const unfinished = path.join(folder, `unfinished-${process.pid}`);
  try {
    if (await runs(cached)) return cached;
    const failures: string[] = [];
    for (const [way, get] of [
      ['download', downloadTemporal],
      ['go install', buildTemporal],
    ] as const) {
      rmSync(unfinished, { recursive: true, force: true });
      mkdirSync(unfinished, { recursive: true });
      try {
        const made = await get(unfinished, options);
        if (!(await runs(made))) throw new Error('what came does not run here');
        renameSync(made, cached);
        return cached;
      } catch (error) {
        options.signal?.throwIfAborted();
        failures.push(`${way}: ${sentenceOf(error)}`);
      }
    }
    throw new TemporalMissingError(missing(failures, folder));
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
    release();
  }
}

function missing(failures: string[], folder: string): string {
  return [
    'There is no Temporal server, and none could be got. Any one of these four ways helps:',
    '  1. set TEMPORAL_ADDRESS to a Temporal server that runs already (host:port);',
    '  2. put the `temporal` command on PATH (https://docs.temporal.io/cli);',
    `  3. let this machine reach ${DOWNLOAD}, from where the command is downloaded into ${folder};`,
    `  4. install Go (https://go.dev/dl), so that it can be built: go install ${MODULE}`,
    'What was tried just now:',
    '  PATH: no `temporal` that runs',
    ...failures.map((failure) => `  ${failure}`),
  ].join('\n');
}

const sentenceOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? ` (${error.cause.message || (error.cause as { code?: string }).code})` : '';
  return `${error.message}${cause}`;
};

async function temporalOnPath(environment: NodeJS.ProcessEnv): Promise<string | null> {
  const command = onPath('temporal', environment);
  return command && (await runs(command)) ? command : null;
}

/** First executable of that name on PATH. */
function onPath(name: string, environment: NodeJS.ProcessEnv, alsoIn: string[] = []): string | null {
  for (const folder of [...(environment.PATH ?? '').split(path.delimiter).filter(path.isAbsolute), ...alsoIn]) {
    const file = path.join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not here.
    }
  }
  return null;
}

/** Whether it is Temporal's command with a development server in it. */
async function runs(command: string): Promise<boolean> {
  try {
    return /server/i.test(await run(command, ['--version'], { withinMs: 20_000 }));
  } catch {
    return false;
  }
}

async function downloadTemporal(folder: string, { environment, progress, signal, download = DOWNLOAD }: FindOptions): Promise<string> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const url = `${download}/v${TEMPORAL_VERSION}?platform=${platform}&arch=${process.arch === 'x64' ? 'amd64' : process.arch}`;
  progress(`Downloading the Temporal server ${TEMPORAL_VERSION} (about 100 MB, once per user)`);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error(`no answer within ${ANSWER_WITHIN_MS / 1_000} s`)), ANSWER_WITHIN_MS);
  const stop = AbortSignal.any([late.signal, AbortSignal.timeout(DOWNLOAD_WITHIN_MS), ...(signal ? [signal] : [])]);
  const response = await fetch(url, { signal: stop }).finally(() => clearTimeout(timer));
  if (!response.ok || !response.body) throw new Error(`${url} answers ${response.status}`);
  const archive = spawn('tar', ['-xzf', '-', '-C', folder], { stdio: ['pipe', 'ignore', 'ignore'], env: environment });
  const unpacked = new Promise<void>((resolve, reject) => {
    archive.once('error', reject);
    archive.once('close', (code) => (code === 0 ? resolve() : reject(new Error('the archive could not be unpacked'))));
  });
  archive.stdin.on('error', () => {});
  const total = Number(response.headers.get('content-length')) || 0;
  let done = 0;
  let said = 0;
  for await (const chunk of response.body) {
    done += chunk.byteLength;
    if (!archive.stdin.write(chunk)) await Promise.race([new Promise((go) => archive.stdin.once('drain', go)), unpacked]);
    const tenths = total ? Math.floor((done / total) * 10) : 0;
    if (tenths > said) progress(`Downloading the Temporal server: ${tenths}0 %`);
    said = tenths;
  }
  archive.stdin.end();
  await unpacked;
  return path.join(folder, 'temporal');
}

async function buildTemporal(folder: string, { environment, progress, signal, goFolders = GO_FOLDERS }: FindOptions): Promise<string> {
  const go = onPath('go', environment, goFolders);
  if (!go) throw new Error('there is no `go` on PATH');
  progress(`Building the Temporal server ${TEMPORAL_VERSION} with ${go}: about three minutes, once per user`);
  const startedAt = Date.now();
  let modules = 0;
  const timer = setInterval(() => {
    const seconds = Math.round((Date.now() - startedAt) / 1_000);
    progress(`Building the Temporal server: ${seconds} s${modules > 0 ? `, ${modules} modules fetched` : ''}`);
  }, 10_000);
  try {
    await run(go, ['install', MODULE], {
      environment: { ...environment, GOBIN: folder, CGO_ENABLED: environment.CGO_ENABLED ?? '0' },
      withinMs: 30 * 60_000,
      onLine: (line) => {
        if (line.startsWith('go: downloading')) modules += 1;
      },
      ...(signal ? { signal } : {}),
    });
  } finally {
    clearInterval(timer);
  }
  progress(`Built the Temporal server in ${Math.round((Date.now() - startedAt) / 1_000)} s`);
  return path.join(folder, 'temporal');
}
