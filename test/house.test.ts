/** The rules of the house that a type checker and a linter do not hold. An unchecked rule dies. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { importsOf, type SourceFile, sourceFilesIn, withoutComments } from './support/source-files.ts';

const src = sourceFilesIn('src');
const handlers = sourceFilesIn('handlers');
const bench = sourceFilesIn('bench');
const tests = sourceFilesIn('test');
const everything = [
  ...src,
  ...handlers,
  ...bench,
  ...tests,
  ...sourceFilesIn('scripts'),
  ...sourceFilesIn('web/src'),
  ...sourceFilesIn('deploy'),
];

const isEntry = (path: string) => /^src\/main-[a-z-]+\.ts$/.test(path);
/** The room a file lives in; `seam` for the files beside the rooms (config, log, postgres, …) bar those named here, `entry` for the mains. */
const roomOf = (path: string): string => {
  if (isEntry(path)) return 'entry';
  const [, room = '', rest] = path.split('/');
  if (rest !== undefined) return room;
  return room in MAY_USE ? room : 'seam';
};

/** From a room to the rooms whose values it may use. What is not listed is not allowed; an entry may use everything. */
const MAY_USE: Record<string, string[]> = {
  api: ['api', 'jobs', 'seam'],
  jobs: ['jobs', 'seam'],
  controller: ['controller', 'jobs', 'seam'],
  activities: ['activities', 'jobs', 'handlers.ts', 'seam'],
  // What a worker is made of, and what the authors of handlers import.
  'worker.ts': ['activities', 'jobs', 'seam'],
  // The API with all that it stands on: which addresses a target may have is the rule of those that call it.
  'api-process.ts': ['api', 'activities', 'jobs', 'seam'],
  'handlers.ts': ['jobs', 'seam'],
  workflows: ['workflows'],
  embedded: ['embedded'],
  client: ['client'],
  cli: ['cli', 'client'],
  seam: ['seam'],
};
const EXPRESS = ['express', 'express-rate-limit', 'helmet'];
/** Packages that a room must not touch, not even for a type where `types` says so. */
const FORBIDDEN: Record<string, { packages: RegExp; types: boolean; why: string }> = {
  api: { packages: /^(pg|@temporalio\/.+)$/, types: true, why: 'the API knows neither SQL nor Temporal' },
  jobs: { packages: new RegExp(`^(${EXPRESS.join('|')})$`), types: true, why: 'the domain knows no HTTP' },
  controller: { packages: new RegExp(`^(${EXPRESS.join('|')})$`), types: true, why: 'the controller knows no HTTP' },
  activities: { packages: new RegExp(`^(${EXPRESS.join('|')})$`), types: true, why: 'activities know no HTTP server' },
  workflows: { packages: /^(?!@temporalio\/workflow$)/, types: false, why: 'whatever a workflow imports is bundled and replayed' },
};

/** The sentences of all violations, so that one run shows them all. */
const violations = (files: SourceFile[], check: (file: SourceFile) => string[]): string[] =>
  files.flatMap((file) => check(file).map((sentence) => `${file.path}: ${sentence}`));
const none = (found: string[]) => assert.deepEqual(found, []);

describe('importsOf', () => {
  const imports = (text: string) => importsOf('src/jobs/a.ts', text);

  test('sees values, types, re-exports, side effects and calls', () => {
    assert.deepEqual(imports("import { x } from '../log.ts';"), [{ from: 'src/log.ts', typeOnly: false }]);
    assert.deepEqual(imports("import type { X } from './b/c.ts';"), [{ from: 'src/jobs/b/c.ts', typeOnly: true }]);
    assert.deepEqual(imports("import {\n  type X,\n  y,\n} from '@temporalio/client/lib/z';"), [
      { from: '@temporalio/client', typeOnly: false },
    ]);
    assert.deepEqual(imports("export * from 'pg';"), [{ from: 'pg', typeOnly: false }]);
    assert.deepEqual(imports("import 'node:fs';"), [{ from: 'node:fs', typeOnly: false }]);
    assert.deepEqual(imports("const m = await import('./b.ts');"), [{ from: 'src/jobs/b.ts', typeOnly: false }]);
  });

  test('does not take exports with a string in them for imports', () => {
    assert.deepEqual(imports("export const from = 'pg';\nexport function f() {\n  return 'x from';\n}"), []);
  });
});

describe('rooms', () => {
  test('all have a rule', () => {
    none([...new Set(src.map(({ path }) => roomOf(path)))].filter((room) => room !== 'entry' && !(room in MAY_USE)));
  });

  test('use the values of those rooms only that they may', () => {
    none(
      violations(src, ({ path, imports }) =>
        imports
          .filter(({ from, typeOnly }) => from.startsWith('src/') && !typeOnly && roomOf(path) !== 'entry')
          .filter(({ from }) => !MAY_USE[roomOf(path)]?.includes(roomOf(from)))
          .map(({ from }) => `${roomOf(path)} may not use ${from}`),
      ),
    );
  });

  test('keep their packages to themselves: Express in the API, pg in one seam, Temporal below the API', () => {
    none(
      violations(src, ({ path, imports }) => {
        const rule = FORBIDDEN[roomOf(path)];
        if (!rule) return [];
        return imports
          .filter(({ from, typeOnly }) => !from.startsWith('src/') && rule.packages.test(from) && (rule.types || !typeOnly))
          .map(({ from }) => `imports ${from}: ${rule.why}`);
      }),
    );
  });

  test('are never entered through an entry', () => {
    none(violations(everything, ({ imports }) => imports.filter(({ from }) => isEntry(from)).map(({ from }) => `imports ${from}`)));
  });

  test('leave SQL to the rooms below the API', () => {
    const sql = /\b(SELECT\s[\s\S]{1,300}?\sFROM\s|INSERT INTO\s|UPDATE\s+\w+\s+SET\s|DELETE FROM\s)|\.query[<(]/;
    const found = src.filter(
      ({ path, text }) => ['api', 'workflows', 'cli', 'client'].includes(roomOf(path)) && sql.test(withoutComments(text)),
    );
    none(found.map(({ path }) => path));
  });

  test('open connections in one seam each', () => {
    none(
      violations(src, ({ path, imports }) =>
        imports
          .filter(({ from, typeOnly }) => from === 'pg' && !typeOnly && path !== 'src/postgres.ts')
          .map(() => 'opens Postgres past src/postgres.ts'),
      ).filter((sentence) => !sentence.startsWith('src/embedded/')),
    );
  });
});

describe('source', () => {
  test('reads process.env in config.ts alone', () => {
    const readers = src.filter(({ text }) => /\bprocess\.env\b|\benv\b[^;]*from 'node:process'/.test(withoutComments(text)));
    assert.deepEqual(
      readers.map(({ path }) => path),
      ['src/config.ts'],
    );
  });

  test('has files of at most 250 lines, and baselines of at most 80', () => {
    none(
      violations(
        everything.filter(({ path }) => !path.startsWith('test/')),
        ({ lines }) => (lines > 250 ? [`has ${lines} lines: split it by noun`] : []),
      ),
    );
    none(
      violations(
        bench.filter(({ path }) => path.startsWith('bench/baseline/')),
        ({ lines }) => (lines > 80 ? [`has ${lines} lines`] : []),
      ),
    );
  });

  test('is named in kebab-case for the one thing it holds', () => {
    const names = everything.map(
      ({ path }) =>
        path
          .split('/')
          .at(-1)
          ?.replace(/(\.test)?\.m?[jt]s$/, '') ?? '',
    );
    none(names.filter((name) => !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name) || /^(utils?|helpers?|common|misc)$/.test(name)));
  });

  test('has no default export but in handlers', () => {
    const found = everything.filter(
      ({ path, text }) => !path.startsWith('handlers/') && !path.includes('fixtures/') && /^export default\b/m.test(text),
    );
    none(found.map(({ path }) => path));
  });

  test('has classes for errors only', () => {
    none(
      violations(src, ({ text }) =>
        [...withoutComments(text).matchAll(/^\s*(?:export )?(?:abstract )?class (\w+)\b(?! extends \w*(?:Error|Failure)\b)/gm)].map(
          ([, name]) => `class ${name}`,
        ),
      ),
    );
  });

  test('has no enum, no namespace and no parameter property: Node only strips types', () => {
    const found = everything.filter(({ text }) =>
      /^\s*(export )?(const )?enum \w|^\s*(export )?namespace \w|constructor\([^)]*\b(private|public|readonly) /m.test(
        withoutComments(text),
      ),
    );
    none(found.map(({ path }) => path));
  });

  test('has nothing left to do', () => {
    const marks = new RegExp(`\\b(${['TO', 'FIX', 'XX'].map((start) => start + { TO: 'DO', FIX: 'ME', XX: 'X' }[start]).join('|')})\\b`);
    none(everything.filter(({ text }) => marks.test(text)).map(({ path }) => path));
  });

  test('says at the head of every file of src what it holds', () => {
    none(src.filter(({ text }) => !/^(\/\*\*|\/\/|#!)/.test(text)).map(({ path }) => path));
  });
});

describe('tests', () => {
  test('are all run: none is alone, skipped or still to be written', () => {
    const dotted = /\b(test|it|describe|suite|t|context)\.(only|skip|todo)\b/;
    const option = /\b(test|it|describe|suite)\([^\n]*\{[^}\n]*\b(only|skip|todo):/;
    none(tests.filter(({ text }) => dotted.test(withoutComments(text)) || option.test(withoutComments(text))).map(({ path }) => path));
  });

  test('lie where src has the room they are about', () => {
    const rooms = new Set(src.map(({ path }) => path.split('/').slice(0, -1).join('/').replace(/^src/, 'test')));
    const others = new Set([
      'test',
      'test/deploy',
      'test/bench',
      'test/end-to-end',
      'test/behaviour',
      'test/chaos',
      'test/migrations',
      'test/scripts',
      'test/handlers',
    ]);
    const folders = tests.filter(({ path }) => path.endsWith('.test.ts')).map(({ path }) => path.split('/').slice(0, -1).join('/'));
    none([...new Set(folders)].filter((folder) => !rooms.has(folder) && !others.has(folder)));
  });
});

describe('package-lock.json', () => {
  const lock = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8')) as {
    packages: Record<string, { resolved?: string; integrity?: string; link?: boolean; version?: string }>;
  };

  test('names no registry: packages come from wherever npm is told', () => {
    none(Object.entries(lock.packages).flatMap(([name, { resolved }]) => (resolved ? [`${name}: ${resolved}`] : [])));
  });

  test('has a checksum for every package', () => {
    none(Object.entries(lock.packages).flatMap(([name, { integrity, link }]) => (name !== '' && !integrity && !link ? [name] : [])));
  });

  test('holds every platform of every package that is built for one: npm ci refuses a lockfile with a hole', () => {
    const holes = Object.entries(lock.packages).flatMap(([name, entry]) =>
      Object.keys((entry as { optionalDependencies?: Record<string, string> }).optionalDependencies ?? {})
        .filter((wanted) => !(`${name}/node_modules/${wanted}` in lock.packages) && !(`node_modules/${wanted}` in lock.packages))
        .map((wanted) => `${name} wants ${wanted}`),
    );
    none(holes);
  });
});
