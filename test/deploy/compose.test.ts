/** No engine runs here: these tests read the compose file and everything it points at, and hold them against the code. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { describe, test } from 'node:test';
import { environmentSchema, readConfig } from '../../src/config.ts';
import { type ComposeService, interpolate, interpolationsOf, readComposeFile } from '../support/compose-file.ts';
import { readEnvExample } from '../support/env-example.ts';

const root = new URL('../../', import.meta.url);
const at = (path: string) => new URL(path, root);
const text = readFileSync(at('docker-compose.yml'), 'utf8');
const code = text.replace(/^\s*#.*$/gm, '');
const file = readComposeFile(at('docker-compose.yml'));
const services = Object.entries(file.services);
const ours = services.filter(([, service]) => service.image.startsWith('almanac:'));
const example = readEnvExample(readFileSync(at('.env.example'), 'utf8'));
const documented = new Map([...example.settings, ...example.compose].map((entry) => [entry.name, entry]));
const SECRETS = ['POSTGRES_PASSWORD', 'DATABASE_PASSWORD', 'TEMPORAL_DATABASE_PASSWORD', 'ALMANAC_BOOTSTRAP_KEY', 'METRICS_TOKEN'];
const secretValues = Object.fromEntries(SECRETS.map((name) => [name, 'a'.repeat(48)]));

const serviceNamed = (name: string): ComposeService => file.services[name] ?? assert.fail(`no service ${name}`);
/** A service's environment as a process finds it when .env holds the secrets and nothing else. */
const environmentOf = (service: ComposeService) =>
  Object.fromEntries(Object.entries(service.environment).map(([name, value]) => [name, interpolate(value, secretValues)]));

describe('the services', () => {
  test('are Postgres, Temporal with schema, namespace and UI, Almanac, a gateway and Prometheus', () => {
    assert.deepEqual(Object.keys(file.services).sort(), [
      'api',
      'controller',
      'gateway',
      'migrate',
      'postgres',
      'prometheus',
      'temporal',
      'temporal-namespace',
      'temporal-schema',
      'temporal-ui',
      'worker',
    ]);
  });

  test('run two copies of the API and of the controller, and as many workers as one asks for', () => {
    assert.equal(serviceNamed('api').deploy?.replicas, 2);
    assert.equal(serviceNamed('controller').deploy?.replicas, 2);
    // Neither a fixed number nor a fixed host port stands in the way of `--scale worker=4`.
    assert.equal(serviceNamed('worker').deploy, undefined);
    for (const [name, service] of ours) assert.deepEqual(service.ports, [], `${name} publishes a port: its copies would fight for it`);
  });

  for (const [name, service] of services) {
    test(`${name} has an image pinned to a version`, () => {
      assert.match(interpolate(service.image, {}), /^[a-z0-9./-]+:v?\d+\.\d+[a-z0-9.-]*$/);
    });

    test(`${name} waits only for services that exist, in a way they can fulfil`, () => {
      for (const [other, { condition }] of Object.entries(service.depends_on)) {
        const target = serviceNamed(other);
        if (condition === 'service_healthy') assert.ok(target.healthcheck && 'test' in target.healthcheck, `${other} has no health check`);
        if (condition === 'service_completed_successfully') assert.match(target.restart, /^on-failure/, `${other} never completes`);
      }
    });

    test(`${name} uses networks, volumes and secrets that are declared`, () => {
      for (const network of service.networks) assert.ok(network in file.networks, network);
      for (const secret of service.secrets) assert.ok(secret in file.secrets, secret);
      for (const volume of service.volumes) {
        const [source = '', target = '', mode] = interpolate(volume, {}).split(':');
        assert.ok(target.startsWith('/'), volume);
        if (!source.startsWith('.')) assert.ok(source in file.volumes, source);
        else {
          assert.ok(existsSync(at(source)), `${source} does not exist`);
          assert.equal(mode, 'ro', `${source} is ours: mount it read-only`);
        }
      }
    });

    test(`${name} publishes on loopback only`, () => {
      for (const port of service.ports) assert.match(interpolate(port, {}), /^127\.0\.0\.1:\d+:\d+$/);
    });
  }

  test('depend on each other without a circle', () => {
    const visit = (name: string, path: string[]): void => {
      assert.ok(!path.includes(name), `${[...path, name].join(' → ')}`);
      for (const other of Object.keys(serviceNamed(name).depends_on)) visit(other, [...path, name]);
    };
    for (const [name] of services) visit(name, []);
  });

  test('publish no port twice', () => {
    const published = services.flatMap(([, service]) => service.ports.map((port) => interpolate(port, {}).split(':')[1]));
    assert.equal(new Set(published).size, published.length);
  });

  test('are probed every 30 s, for at most 5 s, and given up after 3 failures', () => {
    for (const name of ['postgres', 'temporal', 'api', 'worker', 'controller', 'gateway', 'prometheus']) {
      const check = serviceNamed(name).healthcheck;
      assert.ok(check && 'test' in check, name);
      assert.deepEqual([check.interval, check.timeout, check.retries], ['30s', '5s', 3], name);
    }
  });

  test('keep Postgres and Temporal on a network without a way in or out', () => {
    assert.equal(file.networks.data?.internal, true);
    for (const name of ['postgres', 'temporal']) {
      assert.deepEqual(serviceNamed(name).networks, ['data']);
      assert.deepEqual(serviceNamed(name).ports, []);
    }
  });

  test('share one network with Prometheus, or each copy would be counted twice', () => {
    for (const name of ['api', 'worker', 'controller']) {
      const shared = serviceNamed(name).networks.filter((network) => serviceNamed('prometheus').networks.includes(network));
      assert.deepEqual(shared, ['data'], name);
    }
  });
});

describe('the variables', () => {
  test('are all described in .env.example', () => {
    for (const { name } of interpolationsOf(code)) assert.ok(documented.has(name), `${name} is not in .env.example`);
  });

  test('of the compose section of .env.example are all used', () => {
    const used = new Set(interpolationsOf(code).map((variable) => variable.name));
    for (const { name } of example.compose) assert.ok(used.has(name), `${name} is not used by docker-compose.yml`);
  });

  test('either have a default or stop compose with their name', () => {
    for (const { name, operator, word } of interpolationsOf(code)) {
      assert.notEqual(operator, '', `${name} would become empty without a word`);
      if (operator === ':?') assert.match(word, new RegExp(`^set ${name} in \\.env`));
    }
  });

  test('that are secret are required everywhere and stand nowhere in the file', () => {
    for (const { name, operator } of interpolationsOf(code)) {
      if (SECRETS.includes(name)) assert.equal(operator, ':?', name);
      else assert.doesNotMatch(name, /PASSWORD|SECRET|TOKEN|KEY$/);
    }
    for (const [name, service] of services) {
      for (const [variable, value] of Object.entries(service.environment)) {
        if (/PASSWORD|PWD|TOKEN|BOOTSTRAP_KEY/.test(variable)) assert.match(value, /^\$\{[A-Z_]+:\?[^}]+\}$/, `${name}: ${variable}`);
      }
    }
  });

  test('of the compose section have the defaults that .env.example shows', () => {
    for (const { name, operator, word } of interpolationsOf(code)) {
      const entry = example.compose.find((candidate) => candidate.name === name);
      if (entry && operator === ':-') assert.equal(word, entry.value, name);
      if (entry && operator === ':?') assert.deepEqual([entry.value, entry.commentedOut], ['', false], name);
    }
  });
});

describe("Almanac's processes", () => {
  for (const [name, service] of ours) {
    test(`${name} runs an entry that exists`, () => {
      const [entry = '', ...rest] = service.command ?? [];
      assert.deepEqual(rest, []);
      assert.match(entry, /^src\/main-[a-z]+\.ts$/);
      assert.ok(existsSync(at(entry)), `${entry} does not exist`);
    });

    test(`${name} gets settings that config.ts knows and accepts`, () => {
      const environment = environmentOf(service);
      for (const variable of Object.keys(environment)) assert.ok(variable in environmentSchema.shape, `${variable} is no setting`);
      const config = readConfig(environment);
      assert.equal(config.DATABASE_URL, `postgres://almanac:${'a'.repeat(48)}@postgres:5432/almanac`);
      assert.equal(config.TEMPORAL_ADDRESS, 'temporal:7233');
    });

    test(`${name} can reach the servers it is told of`, () => {
      for (const server of ['postgres', 'temporal']) {
        assert.ok(serviceNamed(server).networks.some((network) => service.networks.includes(network)));
      }
    });

    test(`${name} runs with no more rights than it needs`, () => {
      assert.deepEqual(service.cap_drop, ['ALL']);
      assert.deepEqual(service.security_opt, ['no-new-privileges:true']);
      assert.equal(service.read_only, true);
    });

    test(`${name} has more time to stop than the 30 s it may drain`, () => {
      assert.ok(Number.parseInt(service.stop_grace_period ?? '0', 10) > 30);
    });
  }

  test('are asked for their health where they serve it', () => {
    for (const [name, service] of ours) {
      const check = service.healthcheck;
      assert.ok(check, name);
      if (!('test' in check)) continue;
      const [, , script = '', address = ''] = check.test;
      assert.ok(existsSync(at(script)));
      const config = readConfig(environmentOf(service));
      assert.equal(new URL(address).port, String(name === 'api' ? config.PORT : config.METRICS_PORT), name);
      assert.equal(new URL(address).pathname, '/health/ready');
    }
  });

  test("never call Almanac's own servers as a target, whatever is allowed", () => {
    for (const name of ['api', 'worker']) {
      assert.deepEqual(readConfig(environmentOf(serviceNamed(name))).ALMANAC_TARGET_DENY, ['postgres:5432', 'temporal:7233']);
    }
  });

  test('believe exactly the gateway about the address of a client', () => {
    assert.equal(readConfig(environmentOf(serviceNamed('api'))).TRUST_PROXY, 1);
  });

  test('find enough connections in Postgres, with four workers and Temporal beside them', () => {
    const command = serviceNamed('postgres').command ?? [];
    const most = Number(command.find((word) => word.startsWith('max_connections='))?.split('=')[1]);
    const pool = readConfig({}).DATABASE_POOL;
    const processes = 2 + 2 + 4 + 1;
    // Temporal keeps a pool of 20 and one of 10 in each of its four services.
    assert.ok(processes * pool + 4 * (20 + 10) < most, `${most} connections are too few`);
  });
});

test('the scripts that containers run are executable and end at the first failure', () => {
  for (const path of [
    'deploy/temporal/schema.sh',
    'deploy/temporal/namespace.sh',
    'deploy/postgres/10-roles.sh',
    'deploy/gateway/50-tls.sh',
  ]) {
    assert.ok(statSync(at(path)).mode & 0o111, `${path} is not executable`);
    assert.match(readFileSync(at(path), 'utf8'), /^#!\/bin\/sh\n[\s\S]*^set -eu$/m);
  }
});
