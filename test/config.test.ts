import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { ConfigError, environmentSchema, readConfig } from '../src/config.ts';
import { readEnvExample } from './support/env-example.ts';

const example = readEnvExample(readFileSync(new URL('../.env.example', import.meta.url), 'utf8'));
const defaults = readConfig({});

const refusal = (environment: NodeJS.ProcessEnv): string => {
  try {
    readConfig(environment);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return assert.fail('the environment was accepted');
};

describe('.env.example', () => {
  test('names every setting of the schema once, and no other', () => {
    const names = example.settings.map((entry) => entry.name);
    assert.deepEqual([...names].sort(), Object.keys(environmentSchema.shape).sort());
  });

  test('says what each setting means', () => {
    for (const entry of [...example.settings, ...example.compose]) assert.ok(entry.meaning.length > 10, `${entry.name} has no meaning`);
  });

  for (const { name, value } of example.settings) {
    test(`shows the default of ${name}`, () => {
      const shown = readConfig({ [name]: value })[name as keyof typeof defaults];
      const real = defaults[name as keyof typeof defaults];
      assert.deepEqual(shown, real);
      // An empty value would be read as the default, whatever that is: it must be shown as it is.
      assert.equal(value, Array.isArray(real) ? real.join(',') : String(real ?? ''));
    });
  }
});

describe('readConfig', () => {
  test('takes an empty environment: every setting has a default', () => {
    assert.equal(defaults.HOST, '127.0.0.1');
    assert.equal(defaults.PORT, 8080);
    assert.deepEqual(defaults.API_GROUPS, ['jobs', 'schedule', 'executions']);
  });

  test('counts an empty variable as not set', () => {
    assert.deepEqual(readConfig({ PORT: '', ALMANAC_BOOTSTRAP_KEY: '', WORKER_QUEUES: '' }), defaults);
  });

  test('reads lists without their spaces and empty parts', () => {
    assert.deepEqual(readConfig({ WORKER_QUEUES: ' fast, slow ,,' }).WORKER_QUEUES, ['fast', 'slow']);
  });

  test('reads true, false, 1 and 0 as flags', () => {
    assert.deepEqual(
      ['true', '1', 'false', '0'].map((TEMPORAL_TLS) => readConfig({ TEMPORAL_TLS }).TEMPORAL_TLS),
      [true, true, false, false],
    );
  });

  test('lists every bad variable in one error, with its value', () => {
    const message = refusal({ PORT: '70000', LOG_LEVEL: 'loud', WORKER_SLOTS: '0', API_GROUPS: 'jobs,users', TEMPORAL_TLS: 'yes' });
    for (const [name, value] of [
      ['PORT', '70000'],
      ['LOG_LEVEL', 'loud'],
      ['WORKER_SLOTS', '0'],
      ['API_GROUPS', 'jobs,users'],
      ['TEMPORAL_TLS', 'yes'],
    ]) {
      assert.match(message, new RegExp(`${name}: .*is "${value}"`));
    }
  });

  test('accepts both sides of an edge as the schema says: ports 0 and 65535, not 65536', () => {
    assert.equal(readConfig({ PORT: '0' }).PORT, 0);
    assert.equal(readConfig({ PORT: '65535' }).PORT, 65_535);
    assert.match(refusal({ PORT: '65536' }), /PORT/);
  });

  test('wants 32 characters of a bootstrap key: 32 pass, 31 do not', () => {
    assert.equal(readConfig({ ALMANAC_BOOTSTRAP_KEY: 'k'.repeat(32) }).ALMANAC_BOOTSTRAP_KEY?.length, 32);
    assert.match(refusal({ ALMANAC_BOOTSTRAP_KEY: 'k'.repeat(31) }), /at least 32 characters/);
  });

  test('suggests the nearest name for an unknown setting under its prefixes', () => {
    assert.match(refusal({ WORKER_SLOT: '5' }), /WORKER_SLOT: unknown setting, did you mean WORKER_SLOTS\?/);
    assert.match(refusal({ ALMANAC_HOEM: 'x' }), /did you mean ALMANAC_HOME\?/);
  });

  test('leaves variables of other programs alone', () => {
    assert.deepEqual(readConfig({ PATH: '/bin', NODE_ENV: 'test', EDITOR: 'ed' }), defaults);
  });

  test('never repeats a secret', () => {
    const secret = 'hunter2-hunter2';
    assert.ok(!refusal({ ALMANAC_BOOTSTRAP_KEY: secret, PORT: 'x' }).includes(secret));
  });
});
