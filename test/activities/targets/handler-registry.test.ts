import assert from 'node:assert/strict';
import { realpathSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HandlerLoadError } from '../../../src/activities/targets/handler-load-error.ts';
import { loadHandlers } from '../../../src/activities/targets/handler-registry.ts';

/** A folder outside the checkout with these files, gone after the test. */
async function folderOf(context: TestContext, files: Record<string, string>): Promise<string> {
  const folder = realpathSync(await mkdtemp(join(tmpdir(), 'almanac handlers %41-')));
  context.after(() => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(folder, name, '..'), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  return folder;
}
const IMPORT = "import { defineHandler } from 'almanac/handlers';\n";
const handler = (name: string) => `defineHandler({ name: '${name}', run: () => null })`;

/** The message of the refusal, the folder cut off. */
async function refusal(folder: string): Promise<string> {
  const error = await loadHandlers(folder).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof HandlerLoadError, `not refused: ${error}`);
  return error.message.replaceAll(`${folder}/`, '');
}

test('handlers of a folder outside the checkout are found, in TypeScript and JavaScript, named and default, zod included', async (context) => {
  const folder = await folderOf(context, {
    'a.ts': `import { z } from 'zod';\n${IMPORT}export const a: unknown = defineHandler({ name: 'a', description: 'says a', timeout: '1m', input: z.object({ who: z.string(), times: z.number().default(1) }), run: ({ input }) => input.who });`,
    'b.mjs': `${IMPORT}export default ${handler('b')};\nexport const other = 5;`,
    'c.js': `${IMPORT}const c = ${handler('c')};\nexport { c, c as again };`,
    'd.cjs': 'this is not read',
    'e.js': `const { defineHandler } = require('almanac/handlers');\nmodule.exports = { e: ${handler('e')} };`,
    'nested/index.ts': `${IMPORT}import { name } from './name.ts';\nexport default defineHandler({ name, run: () => 1 });`,
    'nested/name.ts': "export const name = 'nested';",
    'only-imported/text.ts': 'export const text = 1;',
    'a.test.ts': 'throw new Error("tests are not loaded");',
    'types.d.ts': 'export type X = 1;',
    'notes.md': '#',
    '.hidden.js': 'throw 1',
    'node_modules/x/index.js': 'throw 1',
  });
  const registry = await loadHandlers(folder);
  assert.deepEqual(registry.names(), ['a', 'b', 'c', 'e', 'nested']);
  assert.equal(registry.get('b')?.name, 'b');
  assert.equal(registry.get('nope'), undefined);
  const [a, b] = registry.describe();
  assert.deepEqual(b, { name: 'b', description: null, input: null, timeoutMs: null });
  assert.deepEqual([a!.description, a!.timeoutMs], ['says a', 60_000]);
  assert.deepEqual(a!.input?.required, ['who']);
});

test('a folder may be given twice, through a link too', async (context) => {
  const folder = await folderOf(context, { 'real/a.js': `${IMPORT}export const a = ${handler('a')};` });
  await symlink(join(folder, 'real'), join(folder, 'link'));
  assert.deepEqual((await loadHandlers(join(folder, 'real'), join(folder, 'link'))).names(), ['a']);
});

test('the shipped examples load', async () => {
  const registry = await loadHandlers(fileURLToPath(new URL('../../../handlers', import.meta.url)));
  assert.deepEqual(registry.names(), ['heartbeat-report']);
});

test('an empty folder has no handlers; one that is not there stops the start', async (context) => {
  const folder = await folderOf(context, {});
  assert.deepEqual((await loadHandlers(folder)).names(), []);
  assert.match(await refusal(join(folder, 'missing')), /missing: the folder of handlers can't be read: ENOENT/);
});

test('a syntax error names file and line: TypeScript, JavaScript modules, CommonJS, and a file that is imported', async (context) => {
  const bad = 'export const a = 1;\nexport const b = {\n  c: 1;\n};\n';
  for (const [name, text, line] of [
    ['bad.ts', bad, 3],
    ['bad.js', bad, 3],
    ['bad.mjs', bad, 3],
    ['common.js', 'const a = 1;\nreturn = 5;\nmodule.exports = { a };', 2],
    ['enum.ts', 'export const a = 1;\n\nenum X { A }\n', 3],
    ['twice.ts', 'export const a: number = 1;\nexport const b = 2;\nconst a = 3;\n', 3],
  ] as const) {
    const folder = await folderOf(context, { [name]: text });
    assert.match(await refusal(folder), new RegExp(`^${name}:${line}: the handler file does not load: SyntaxError: .+`), name);
  }
  const folder = await folderOf(context, { 'top.js': "import './below/deep.js';", 'below/deep.js': bad });
  assert.match(await refusal(folder), /^below\/deep\.js:3: /);
});

test('a file that throws, imports what is not there, or defines what can not work names file and line', async (context) => {
  for (const [text, line, sentence] of [
    ['export const a: number = 1;\nfunction f(): void {\n  throw new Error("no\\nluck");\n}\nf();', 3, 'no luck'],
    ['export const a = 1;\n\nimport x from "nowhere-to-be-found";', 3, "Cannot find package 'nowhere-to-be-found'"],
    ['export const a = 1;\nimport x from "./missing.ts";', 2, 'Cannot find module'],
    ['export const a = 1;\nimport { nope } from "node:fs";', 2, "'node:fs' does not provide an export named 'nope'"],
    [`${IMPORT}\nexport const a = ${handler('Not Fine')};`, 3, 'name "Not Fine" is not a handler name'],
    [`${IMPORT}export const a = defineHandler({ name: 'a', timeout: '5', run: () => 1 });`, 2, 'timeout "5" is not usable'],
    [`${IMPORT}export const a = defineHandler({ name: 'a' });`, 2, 'run is not a function'],
    [`${IMPORT}export const a = defineHandler({ name: 'a', input: {}, run: () => 1 });`, 2, 'input is not a zod schema'],
  ] as const) {
    const folder = await folderOf(context, { 'bad.ts': text });
    const message = await refusal(folder);
    assert.ok(message.startsWith(`bad.ts:${line}: `) && message.includes(sentence), message);
  }
  const folder = await folderOf(context, { 'odd.ts': 'throw "a text";' });
  assert.match(await refusal(folder), /^odd\.ts: .*a text/);
});

test('a file without a handler stops the start and says where else to put it', async (context) => {
  const folder = await folderOf(context, { 'db.ts': 'export const pool = {};' });
  assert.match(await refusal(folder), /^db\.ts:1: the file exports no handler; .*folder below/);
});

test('a doubled name names both places', async (context) => {
  const folder = await folderOf(context, {
    'one.ts': `${IMPORT}export const a = ${handler('same')};`,
    'two.ts': `${IMPORT}\n\nexport const b = ${handler('same')};`,
  });
  assert.match(await refusal(folder), /^two\.ts:4: the handler name "same" is already taken by one\.ts:2; rename one/);
  const alone = await folderOf(context, {
    'one.ts': `${IMPORT}export const a = ${handler('same')};\nexport const b = ${handler('same')};`,
  });
  assert.match(await refusal(alone), /^one\.ts:3: .*already taken by one\.ts:2/);
});
