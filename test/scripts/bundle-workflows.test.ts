import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const script = fileURLToPath(new URL('../../scripts/bundle-workflows.ts', import.meta.url));

describe('the workflow bundle', () => {
  let folder: string;
  let code: string;

  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'almanac-bundle-'));
    await run(process.execPath, [script, path.join(folder, 'dist', 'workflows.js')]);
    code = await readFile(path.join(folder, 'dist', 'workflows.js'), 'utf8');
  });
  after(() => rm(folder, { recursive: true, force: true }));

  test('holds the workflow that every execution runs', () => {
    assert.match(code, /executeJob/);
  });

  test('drags nothing of the other rooms into the sandbox: no zod, no pg, no Express', () => {
    // Inline source maps carry every module's path: whatever is bundled is named there or in its module comment.
    const map = /sourceMappingURL=data:application\/json[^,]*,([A-Za-z0-9+/=]+)/.exec(code)?.[1];
    const sources = map ? (JSON.parse(Buffer.from(map, 'base64').toString('utf8')) as { sources: string[] }).sources : [];
    const named = [...sources, ...code.matchAll(/"\.\/(?:node_modules|src)\/[^"]+"/g)].map(String);
    assert.ok(
      named.some((name) => name.includes('src/workflows/')),
      'the bundle names its modules',
    );
    const foreign = named.filter(
      (name) =>
        /node_modules\/(zod|pg|express|undici)\//.test(name) ||
        (/\/src\//.test(name) && /src\/(jobs|activities|api|controller)\//.test(name)),
    );
    assert.deepEqual([...new Set(foreign)], []);
  });

  test('stands alone in its folder: nothing half-written beside it', async () => {
    assert.deepEqual(await readdir(path.join(folder, 'dist')), ['workflows.js']);
  });
});
