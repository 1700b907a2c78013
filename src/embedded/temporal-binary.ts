/**
 * Finds or gets the `temporal` command: on PATH; in the user's cache; the official download; built by Go. What was got stays in the
 * cache, for every clone of this user. Two that need it at once wait for each other.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { delimiter, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isExecutable } from './places.ts';

/** The newest release that `go install` can build (later ones have a local `replace` in go.mod). */
const VERSION = '1.5.1';
const DOWNLOAD_TIMEOUT_MS = 180_000;
const FIRST_BYTE_MS = 8_000;

export class TemporalMissingError extends Error {
  override name = 'TemporalMissingError';
}

/** @param progress told in short sentences what takes long. @throws TemporalMissingError naming the four ways to get it. */
export async function findTemporal(environment: NodeJS.ProcessEnv, cache: string, progress: (text: string) => void): Promise<string> {
  const onPath = (environment.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, executable('temporal')))
    .find(isExecutable);
  if (onPath) return onPath;
  const cached = join(cache, `temporal-${VERSION}`, executable('temporal'));
  if (isExecutable(cached)) return cached;
  return await alone(join(cache, 'temporal.lock'), progress, async () => {
    if (isExecutable(cached)) return cached;
    const work = mkdtempSync(join(cache, 'getting-'));
    try {
      const got = (await download(work, progress)) ?? (await build(work, environment, progress));
      if (!got) {
        throw new TemporalMissingError(
          [
            'The Temporal server could not be had. One of these four helps:',
            '  1. set TEMPORAL_ADDRESS to a server that runs already, e.g. TEMPORAL_ADDRESS=127.0.0.1:7233',
            '  2. put the `temporal` command on PATH (https://docs.temporal.io/cli)',
            '  3. let this machine reach https://temporal.download, so that it is downloaded',
            `  4. install Go, so that it is built: go install github.com/temporalio/cli/cmd/temporal@v${VERSION}`,
          ].join('\n'),
        );
      }
      mkdirSync(join(cache, `temporal-${VERSION}`), { recursive: true });
      renameSync(got, cached);
      return cached;
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  });
}

const executable = (name: string): string => (platform() === 'win32' ? `${name}.exe` : name);

/** The official archive; null when it can't be reached. */
async function download(work: string, progress: (text: string) => void): Promise<string | null> {
  const os = platform() === 'win32' ? 'windows' : platform();
  const cpu = arch() === 'x64' ? 'amd64' : arch();
  const address = `https://temporal.download/cli/archive/v${VERSION}?platform=${os}&arch=${cpu}`;
  try {
    progress(`downloading Temporal ${VERSION} …`);
    const waiting = new AbortController();
    const firstByte = setTimeout(() => waiting.abort(), FIRST_BYTE_MS);
    const response = await fetch(address, { signal: AbortSignal.any([waiting.signal, AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS)]) });
    clearTimeout(firstByte);
    if (!response.ok || !response.body) return null;
    const archive = join(work, os === 'windows' ? 'temporal.zip' : 'temporal.tar.gz');
    await pipeline(Readable.fromWeb(response.body as import('node:stream/web').ReadableStream), createWriteStream(archive));
    execFileSync('tar', ['-xf', archive, '-C', work], { stdio: 'ignore' });
    const binary = join(work, executable('temporal'));
    return isExecutable(binary) ? binary : null;
  } catch {
    return null;
  }
}

/** `go install`; null when there is no Go, or it fails (its last words are told). */
async function build(work: string, environment: NodeJS.ProcessEnv, progress: (text: string) => void): Promise<string | null> {
  try {
    execFileSync('go', ['version'], { stdio: 'ignore', env: environment });
  } catch {
    return null;
  }
  progress(`building Temporal ${VERSION} with Go (once for this user; two to four minutes) …`);
  const child = spawn('go', ['install', `github.com/temporalio/cli/cmd/temporal@v${VERSION}`], {
    env: { ...environment, GOBIN: work, CGO_ENABLED: '0' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  let modules = 0;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2_000);
    modules += text.split('go: downloading').length - 1;
  });
  const startedAt = Date.now();
  const timer = setInterval(
    () => progress(`building Temporal … ${Math.round((Date.now() - startedAt) / 1000)} s, ${modules} modules fetched`),
    15_000,
  );
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve).once('error', () => resolve(null)));
  clearInterval(timer);
  if (code === 0) return join(work, executable('temporal'));
  progress(`go install failed: ${said.trim().split('\n').at(-1)}`);
  return null;
}

/** Runs `work` while nobody else does; a lock whose owner is gone is taken over. */
async function alone<T>(lock: string, progress: (text: string) => void, work: () => Promise<T>): Promise<T> {
  mkdirSync(join(lock, '..'), { recursive: true });
  for (let told = false; ; told = true) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if ((error as { code?: string }).code !== 'EEXIST') throw error;
    }
    if (ownerIsGone(lock)) rmSync(lock, { recursive: true, force: true });
    else {
      if (!told) progress('another command is fetching Temporal; waiting for it');
      await sleep(500);
    }
  }
  try {
    writeFileSync(join(lock, 'pid'), String(process.pid));
    return await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function ownerIsGone(lock: string): boolean {
  const file = join(lock, 'pid');
  if (!existsSync(file)) return existsSync(lock) && Date.now() - statSync(lock).mtimeMs > 10_000;
  try {
    process.kill(Number(readFileSync(file, 'utf8')), 0);
    return false;
  } catch (error) {
    return (error as { code?: string }).code === 'ESRCH';
  }
}
