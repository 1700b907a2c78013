/** The settings of the servers beside Almanac: the gateway (nginx), Prometheus, Temporal. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { readConfig } from '../../src/config.ts';
import { readComposeFile } from '../support/compose-file.ts';
import { type Directive, ownValuesOf, parseNginx, valuesOf } from '../support/nginx-file.ts';

const root = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');
const compose = readComposeFile(new URL('docker-compose.yml', root));
const apiPort = readConfig({}).PORT;

describe('the gateway', () => {
  const main = parseNginx(read('deploy/gateway/nginx.conf'));
  const proxy = parseNginx(read('deploy/gateway/proxy.conf'));
  const tls = parseNginx(read('deploy/gateway/tls.conf'));
  const http = main.find(({ name }) => name === 'http')?.block ?? assert.fail('no http block');
  const upstream = http.find(({ name }) => name === 'upstream')?.block ?? assert.fail('no upstream');
  const upstreamName = http.find(({ name }) => name === 'upstream')?.values[0];
  const location = proxy.find(({ name, values }) => name === 'location' && values[0] === '/')?.block ?? assert.fail('no location /');
  const server: Directive[] = tls[0]?.block ?? assert.fail('tls.conf has no server');

  test('ends every directive: one without a semicolon would swallow the next', () => {
    const all = (directives: Directive[]): Directive[] => directives.flatMap((directive) => [directive, ...all(directive.block ?? [])]);
    for (const { name, values } of all([...main, ...proxy, ...tls])) {
      const swallowed = values.filter((value) => /^[a-z]+(_[a-z0-9]+)+$/.test(value) && value !== upstreamName);
      assert.deepEqual(swallowed, [], name);
    }
  });

  test('hands requests to every copy of the API, by the name and port compose gives it', () => {
    assert.deepEqual(valuesOf(upstream, 'server')[0]?.slice(0, 2), [`api:${apiPort}`, 'resolve']);
    assert.ok('api' in compose.services);
    assert.deepEqual(valuesOf(location, 'proxy_pass'), [[`http://${upstreamName}`]]);
  });

  test('keeps connections of clients for 30 s, and its own to the API for less than the 30 s the API keeps them', () => {
    assert.deepEqual(ownValuesOf(http, 'keepalive_timeout'), [['30s']]);
    assert.ok(Number.parseInt(valuesOf(upstream, 'keepalive_timeout')[0]?.[0] ?? '', 10) < 30);
    assert.deepEqual(valuesOf(location, 'proxy_http_version'), [['1.1']]);
    assert.ok(valuesOf(location, 'proxy_set_header').some(([header, value]) => header === 'Connection' && value === ''));
  });

  test('says who the client is', () => {
    const headers = Object.fromEntries(valuesOf(location, 'proxy_set_header'));
    assert.equal(headers['X-Forwarded-For'], '$proxy_add_x_forwarded_for');
    assert.equal(headers['X-Forwarded-Proto'], '$scheme');
    assert.equal(headers.Host, '$http_host');
  });

  test('never sends a write twice', () => {
    assert.deepEqual(valuesOf(location, 'proxy_next_upstream'), [['error', 'timeout']]);
  });

  test('lets the API itself refuse a body that is too large', () => {
    const [[size = ''] = []] = valuesOf(http, 'client_max_body_size');
    assert.match(size, /^\d+m$/);
    assert.ok(Number.parseInt(size, 10) * 1024 * 1024 > readConfig({}).BODY_LIMIT_BATCH_BYTES);
  });

  test('speaks TLS 1.2 and 1.3 with HTTP/2 where certificates are mounted, and plain HTTP without them', () => {
    assert.deepEqual(valuesOf(server, 'listen'), [['8443', 'ssl']]);
    assert.deepEqual(valuesOf(server, 'http2'), [['on']]);
    assert.deepEqual(valuesOf(server, 'ssl_protocols'), [['TLSv1.2', 'TLSv1.3']]);
    assert.deepEqual(ownValuesOf(http, 'include'), [['/tmp/almanac-tls/*.conf']]);
  });

  test('includes only files that compose mounts or its own script writes', () => {
    const mounted = (compose.services.gateway?.volumes ?? []).map((volume) => volume.split(':').at(-2));
    const script = read('deploy/gateway/50-tls.sh');
    for (const [path = ''] of [...valuesOf(main, 'include'), ...valuesOf(tls, 'include')]) {
      assert.ok(mounted.includes(path) || (path.endsWith('/*.conf') && script.includes(path.replace('/*.conf', '/tls.conf'))), path);
    }
    for (const [path = ''] of [...valuesOf(server, 'ssl_certificate'), ...valuesOf(server, 'ssl_certificate_key')]) {
      assert.ok(script.includes(path), `50-tls.sh does not look for ${path}`);
    }
  });

  test('listens where compose publishes and probes it', () => {
    const listens = [...valuesOf(main, 'listen'), ...valuesOf(tls, 'listen')].map(([address]) => address);
    assert.deepEqual(listens, ['8080', '127.0.0.1:8081', '8443']);
    assert.deepEqual(
      compose.services.gateway?.ports.map((port) => port.split(':').at(-1)),
      ['8080', '8443'],
    );
    const check = compose.services.gateway?.healthcheck;
    assert.ok(check && 'test' in check && check.test.at(-1) === 'http://127.0.0.1:8081/alive');
  });

  test('writes only to /tmp: it has no root', () => {
    for (const name of ['client_body_temp_path', 'proxy_temp_path', 'fastcgi_temp_path', 'uwsgi_temp_path', 'scgi_temp_path']) {
      assert.match(valuesOf(http, name)[0]?.[0] ?? '', /^\/tmp\//, name);
    }
    assert.deepEqual(valuesOf(main, 'pid'), [['/tmp/nginx.pid']]);
  });
});

describe('Prometheus', () => {
  const discovery = z.strictObject({ names: z.array(z.string()), type: z.literal('A'), port: z.number(), refresh_interval: z.string() });
  const config = z
    .strictObject({
      global: z.strictObject({ scrape_interval: z.string(), scrape_timeout: z.string(), evaluation_interval: z.string() }),
      scrape_configs: z.array(
        z.strictObject({
          job_name: z.string(),
          authorization: z.strictObject({ type: z.literal('Bearer'), credentials_file: z.string() }).optional(),
          dns_sd_configs: z.array(discovery).optional(),
          static_configs: z.array(z.strictObject({ targets: z.array(z.string()) })).optional(),
        }),
      ),
    })
    .parse(parse(read('deploy/prometheus/prometheus.yml')));

  test('asks every copy of every process that serves metrics, with the token', () => {
    const asked = config.scrape_configs.flatMap(({ dns_sd_configs = [], authorization }) =>
      dns_sd_configs.map(({ names, port }) => {
        assert.equal(authorization?.credentials_file, '/run/secrets/metrics_token');
        return [names[0], String(port)];
      }),
    );
    const metricsPort = (service: string) => compose.services[service]?.environment.METRICS_PORT;
    assert.deepEqual(asked, [
      ['api', String(apiPort)],
      ['worker', metricsPort('worker')],
      ['controller', metricsPort('controller')],
    ]);
    assert.deepEqual(compose.services.prometheus?.secrets, ['metrics_token']);
  });

  test('asks Temporal on the port it serves metrics on', () => {
    const temporal = config.scrape_configs.find((scrape) => scrape.job_name === 'temporal');
    const [, port] = compose.services.temporal?.environment.PROMETHEUS_ENDPOINT?.split(':') ?? [];
    assert.deepEqual(temporal?.static_configs, [{ targets: [`temporal:${port}`] }]);
  });
});

describe("Temporal's dynamic configuration", () => {
  const settings = z
    .record(z.string(), z.array(z.strictObject({ value: z.unknown() })))
    .parse(parse(read('deploy/temporal/dynamicconfig.yaml')));

  test('raises the limits that would hold schedules and lists back', () => {
    assert.deepEqual(settings['worker.schedulerNamespaceStartWorkflowRPS'], [{ value: 500 }]);
    assert.deepEqual(settings['frontend.namespaceRPS.visibility'], [{ value: 100 }]);
  });

  test('leaves the next-generation scheduler to who asks for it: both keys are there, neither is set', () => {
    const text = read('deploy/temporal/dynamicconfig.yaml');
    for (const key of ['history.enableCHASMSchedulerCreation', 'history.chasmSchedulerCreationRolloutPercent']) {
      assert.ok(!(key in settings));
      assert.ok(text.includes(`# ${key}:`));
    }
  });

  test('is mounted where the server is told to look', () => {
    const temporal = compose.services.temporal;
    assert.deepEqual(temporal?.volumes, [`./deploy/temporal/dynamicconfig.yaml:${temporal?.environment.DYNAMIC_CONFIG_FILE_PATH}:ro`]);
  });
});

test('every shell script is one that sh can read', () => {
  const folders = ['deploy/gateway', 'deploy/temporal', 'deploy/postgres'];
  const scripts = folders
    .flatMap((folder) => readdirSync(new URL(folder, root)).map((file) => `${folder}/${file}`))
    .filter((file) => file.endsWith('.sh'));
  assert.equal(scripts.length, 4);
  for (const script of scripts) {
    const { status, stderr } = spawnSync('/bin/sh', ['-n', script], { cwd: root, encoding: 'utf8' });
    assert.equal(status, 0, `${script}: ${stderr}`);
  }
});
