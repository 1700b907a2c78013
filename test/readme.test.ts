/** The README as a newcomer follows it: `npm start`, its story word by word, and Ctrl-C. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../src/embedded/ports.ts';
import { removePostgresPlace } from '../src/embedded/postgres-place.ts';
import { storyOf } from './support/readme-story.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const ANSWERS = '\n--- answer ends here ---\n';

test('npm start, the story as it stands in the README, and Ctrl-C', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'almanac-readme-'));
  chmodSync(home, 0o711);
  t.after(() => {
    removePostgresPlace(home);
    rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });
  const { PATH, HOME, XDG_CACHE_HOME } = process.env;
  const environment: NodeJS.ProcessEnv = {
    PATH,
    HOME,
    ...(XDG_CACHE_HOME ? { XDG_CACHE_HOME } : {}),
    ALMANAC_HOME: home,
    PORT: String(await freePort()),
    ALMANAC_TEMPORAL_PORT: '0',
    ALMANAC_TEMPORAL_UI_PORT: '0',
  };
  // A process group of its own stands for the terminal: Ctrl-C reaches all of it.
  const start = spawn('npm', ['start'], { cwd: ROOT, env: environment, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve) => start.once('close', resolve));
  const said: string[] = [];
  const ready = new Promise<void>((resolve, reject) => {
    for (const stream of [start.stdout, start.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        said.push(line);
        if (line.includes('adminKeyFile')) resolve();
      });
    }
    void ended.then((code) => reject(new Error(`npm start ended with ${code}: ${said.slice(-5).join('\n')}`)));
  });
  try {
    await ready;
    const script = storyOf(readFileSync(join(ROOT, 'README.md'), 'utf8')).join(`\nprintf '${JSON.stringify(ANSWERS).slice(1, -1)}'\n`);
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
      cwd: ROOT,
      env: environment,
      timeout: 60_000,
    });
    const [created, triggered, list, deleted] = stdout
      .split(ANSWERS)
      .filter((text) => text.trim() !== '')
      .map((text) => JSON.parse(text));
    assert.deepEqual([created.name, created.state, created.sync], ['machine-health', 'active', 'synced']);
    assert.deepEqual([triggered.status, triggered.trigger], ['succeeded', 'manual']);
    assert.equal(typeof triggered.result.loadPerCpu, 'number');
    assert.ok(list.items.some((execution: { id: string }) => execution.id === triggered.id));
    assert.equal(deleted.state, 'deleting');
  } finally {
    if (start.exitCode === null) process.kill(-start.pid!, 'SIGINT');
  }
  await ended;
  assert.match(said.join('\n'), /Everything has stopped/);
});
