/** The examples of the guides are pasted into a shell, as their readers do. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { ADMIN_KEY, type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

const docs = new URL('../../docs/', import.meta.url);
const run = promisify(execFile);
/** What the guides' examples are about. */
const THERE = [
  ['/api/v1/services', { name: 'billing', baseUrl: 'https://example.com' }],
  [
    '/api/v1/jobs',
    {
      name: 'nightly',
      service: 'billing',
      tags: { env: 'prod' },
      schedule: { every: '1h' },
      target: { type: 'http', url: 'https://example.com' },
    },
  ],
] as const;

let stack: ApiStack;
let api: RunningApi;
before(async () => {
  stack = await createApiStack();
  api = await stack.start();
  for (const [path, body] of THERE) assert.equal((await api.call('POST', path, body)).status, 201);
});
after(() => stack?.close());

/** Times of the examples lie a little ahead, whenever they are read. */
const timely = (text: string): string =>
  text.replaceAll(/"2026-1[12]-\d\dT[\d:]+Z"/g, `"${new Date(Date.now() + 3_600_000).toISOString()}"`);

const blocksOf = (file: string): string[] =>
  [...readFileSync(new URL(file, docs), 'utf8').matchAll(/^```sh\n([^`]*?)^```/gm)].map(([, block]) => block!);

test('every example with `call` in a guide is accepted', async () => {
  const lead = blocksOf('api.md')
    .find((block) => block.includes('call()'))!
    .replaceAll(/^export .*$/gm, '');
  const pasted = readdirSync(docs)
    .filter((file) => file.endsWith('.md') && file !== 'api.md')
    .flatMap((file) =>
      blocksOf(file)
        .filter((block) => /^call /m.test(block))
        .map((block) => ({ file, block })),
    );
  assert.ok(pasted.length >= 5, `${pasted.length} examples`);
  for (const { file, block } of pasted) {
    const env = { ...process.env, API: `${api.url}/api/v1`, KEY: ADMIN_KEY, FREEZE: await freezeToEnd(block) };
    await run('bash', ['-euc', `${lead}\n${timely(block)}`], { env }).catch((error: { stdout: string }) =>
      assert.fail(`${file}: ${error.stdout}\n${block}`),
    );
  }
});

async function freezeToEnd(block: string): Promise<string> {
  if (!block.includes('$FREEZE')) return '';
  return String((await api.call('POST', '/api/v1/freezes', { scope: 'team', reason: 'to be ended' })).body.id);
}
