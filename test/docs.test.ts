/** What the documents claim, as far as it can be looked up without running anything. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { readConfig } from '../src/config.ts';
import { readEnvExample } from './support/env-example.ts';
import { storyOf } from './support/readme-story.ts';

const root = new URL('../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');
const guides = readdirSync(new URL('docs', root), { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.md'));
const documents = [...readdirSync(root).filter((file) => file.endsWith('.md')), ...guides.map((file) => `docs/${file}`)];
const settings = new Set(readEnvExample(read('.env.example')).settings.map(({ name }) => name));

for (const document of documents) {
  test(`${document} links to files that exist`, () => {
    for (const [, target = ''] of read(document).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      assert.ok(existsSync(new URL(target, new URL(document, root))), `${target} does not exist`);
    }
  });
}

describe('README.md', () => {
  const readme = read('README.md');

  test('makes the promise in its own words', () => {
    const promise =
      'at most one execution starts per job and slot, and exactly one when policy permits, else a ledger row says why; each target is called at least once until it succeeds or retries end; every call carries the same execution and step id on every attempt, so a receiver can drop repeats.';
    assert.ok(readme.replace(/\s+/g, ' ').includes(promise));
  });

  test('shows settings with their real defaults', () => {
    const rows = [...readme.matchAll(/^\| `([A-Z_]+)` \| (.+?) \|/gm)].map(([, name = '', shown = '']) => ({ name, shown }));
    assert.ok(rows.length >= 5);
    for (const { name, shown } of rows) {
      assert.ok(settings.has(name), `${name} is no setting`);
      const quoted = /^`(.*)`$/.exec(shown)?.[1];
      const real = readConfig({})[name as keyof ReturnType<typeof readConfig>];
      assert.equal(quoted ?? '', String(real ?? ''), `${name} has another default`);
    }
  });

  test('tells a story that bash can read', () => {
    const blocks = storyOf(readme);
    assert.ok(blocks.length >= 3);
    const { status, stderr } = spawnSync('bash', ['-n'], { input: blocks.join('\n'), encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });

  test('names npm scripts that exist', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    for (const text of [readme, read('CONTRIBUTING.md'), read('docs/operations.md')]) {
      for (const [, name = ''] of text.matchAll(/`?npm (?:run )?([a-z]+)/g)) {
        if (name !== 'ci' && name !== 'install') assert.ok(name in scripts, `npm run ${name} does not exist`);
      }
    }
  });
});

describe('the decisions', () => {
  const decisions = readdirSync(new URL('docs/decisions', root)).sort();

  test('are numbered without a gap', () => {
    assert.deepEqual(
      decisions.map((file) => Number(file.slice(0, 4))),
      decisions.map((_, index) => index + 1),
    );
  });

  for (const file of decisions) {
    test(`${file} has context, decision and consequence in at most 60 lines`, () => {
      const text = read(`docs/decisions/${file}`);
      assert.ok(text.trimEnd().split('\n').length <= 60);
      const headings = [...text.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
      assert.deepEqual(headings, ['Context', 'Decision', 'Consequence']);
      assert.match(text, new RegExp(`^# ${Number(file.slice(0, 4))}\\. `));
    });
  }
});

test('the guides name only settings that exist', () => {
  const { compose } = readEnvExample(read('.env.example'));
  const known = new Set([...settings, ...compose.map(({ name }) => name)]);
  const shape =
    /`((?:ALMANAC|WORKER|RATE_LIMIT|SWEEP|RECONCILE|BODY_LIMIT|BUFFER_LIMIT|TEMPORAL|DATABASE|METRICS|TRUST|PUBLIC|CATEGORY)_[A-Z_]+)(?:=[^`]*)?`/g;
  for (const document of documents) {
    for (const [, name = ''] of read(document).matchAll(shape)) assert.ok(known.has(name), `${document}: ${name} is no setting`);
  }
});

test('LICENSE is the whole Apache License 2.0', () => {
  const text = read('LICENSE');
  assert.match(text, /Apache License\s+Version 2\.0, January 2004/);
  assert.match(text, /9\. Accepting Warranty or Additional Liability/);
  assert.match(text, /END OF TERMS AND CONDITIONS/);
});
