/** Whole controllers: two at once, servers that go away and come back, boot without them, the way out. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Controller, createController } from '../../src/controller/controller.ts';
import { freePort } from '../../src/embedded/ports.ts';
import { findTemporal } from '../../src/embedded/temporal-binary.ts';
import { startTemporal } from '../../src/embedded/temporal-server.ts';
import type { Log } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics.ts';
import { startProcess } from '../support/processes.ts';
import { seedJob } from '../support/seed.ts';
import { change, clientOf, clockState, openRoom, type Room, scheduleOrNull, seedClock, silent, until } from './room.ts';

let room: Room;
before(async () => {
  room = await openRoom();
});
after(() => room.close());

const config = {
  RECONCILE_CONCURRENCY: 8,
  SWEEP_INTERVAL_S: 5,
  BUFFER_LIMIT_SLOTS: 1_000,
  POOL_FROM_JOBS: 20,
  POOL_BELOW_JOBS: 10,
  WATCHDOG_GRACE_S: 60,
};
const controllerOf = (temporal: Room['temporal'], log: Log = silent): Controller =>
  createController({ pool: room.pool, temporal, log, metrics: createMetrics('controller'), config });

const pendingCount = async () =>
  (await room.pool.query<{ n: number }>('SELECT count(*)::int AS n FROM clocks WHERE generation <> observed_generation')).rows[0]!.n;

test('two controllers at once bring everything about once: schedules, late slots, starts', async () => {
  const ids = await Promise.all(Array.from({ length: 40 }, async () => (await seedClock(room.pool)).id));
  const from = new Date(Date.now() - 5 * 60_000);
  const late = await Promise.all(
    Array.from({ length: 10 }, () => seedJob(room.pool, { everyS: 60, validFrom: from, catchUp: 'all', overlap: 'allow_all' })),
  );
  await room.pool.query(`UPDATE clocks SET checked_until = $2, next_check_at = now() WHERE id = ANY ($1)`, [
    late.map((job) => job.id),
    from,
  ]);

  const controllers = [controllerOf(room.temporal), controllerOf(clientOf(room.address, room.namespace))];
  for (const controller of controllers) controller.start();
  await until('all clocks', async () => (await pendingCount()) === 0);
  for (const id of ids) assert.ok(await scheduleOrNull(room.temporal, id));
  const expected = Math.floor((Date.now() - 15_000) / 60_000) - Math.floor(from.getTime() / 60_000);
  await until('all late slots and starts', async () => {
    const { rows } = await room.pool.query<{ n: number; slots: number; runs: number }>(
      `SELECT count(*)::int AS n, count(DISTINCT (job_id, slot))::int AS slots, count(DISTINCT run_id)::int AS runs FROM job_executions WHERE job_id = ANY ($1)`,
      [late.map((job) => job.id)],
    );
    const { n, slots, runs } = rows[0]!;
    return n === slots && runs === n && n >= expected * 10;
  });
  await Promise.all(controllers.map((controller) => controller.stop()));
});

test('what is written while Temporal is away is true there within 30 s after it is back', { timeout: 180_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'almanac-controller-'));
  const environment = { ...process.env };
  const command = await findTemporal({ environment, progress: () => {} });
  const port = await freePort();
  const start = () =>
    startTemporal({
      command,
      port,
      databaseFile: join(folder, 'temporal.db'),
      namespace: 'default',
      folder,
      logFile: join(folder, 'temporal.log'),
      environment,
    });
  const temporal = clientOf(`127.0.0.1:${port}`, 'default');
  const lines: string[] = [];
  const log = {
    ...silent,
    warn: (_: object, text: string) => lines.push(text),
    info: (_: object, text: string) => lines.push(text),
    error: (_: object, text: string) => lines.push(text),
  };
  const controller = controllerOf(temporal, log as unknown as Log);
  let server = await start();
  try {
    await until('the server', () =>
      temporal
        .withDeadline(Date.now() + 2_000, () => temporal.workflowService.describeNamespace({ namespace: 'default' }))
        .then(
          () => true,
          () => false,
        ),
    );
    const [kept, paused, deleted] = await Promise.all([seedClock(room.pool), seedClock(room.pool), seedClock(room.pool)]);
    controller.start();
    await until('the first three', async () => (await pendingCount()) === 0);

    process.kill(server.identity.pid, 'SIGKILL');
    await server.ended;
    const added = await Promise.all(Array.from({ length: 20 }, async () => (await seedClock(room.pool)).id));
    await change(room.pool, paused.id, 'paused = true');
    await change(room.pool, deleted.id, 'deleted_at = now()');
    await change(room.pool, kept.id, `queue = 'other'`);
    await until('the controller to notice', async () => !controller.isReady());
    await until('failed tries', async () => (await pendingCount()) === 23);

    server = await start();
    const backAt = Date.now();
    await until('everything', async () => (await pendingCount()) === 0, 30_000);
    assert.ok(Date.now() - backAt < 30_000);
    for (const id of added) assert.ok(await scheduleOrNull(temporal, id));
    assert.equal((await scheduleOrNull(temporal, paused.id))?.state.paused, true);
    assert.equal(await scheduleOrNull(temporal, deleted.id), null);
    assert.equal((await scheduleOrNull(temporal, kept.id))?.action.taskQueue, 'almanac-other');
    assert.equal(lines.filter((line) => line.startsWith('Temporal is away')).length, 1);
    assert.equal(lines.filter((line) => line === 'Temporal answers again').length, 1);
  } finally {
    await controller.stop();
    await server.stop();
    await temporal.connection.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a clock that a stopped writer left behind is picked up, its own writer first', async () => {
  const { id } = await seedClock(room.pool);
  await room.pool.query('UPDATE clocks SET reconcile_at = now() WHERE id = $1', [id]);
  const controller = controllerOf(room.temporal);
  const startedAt = Date.now();
  controller.start();
  await until('its schedule', async () => (await clockState(room.pool, id))?.observed === 1);
  assert.ok(Date.now() - startedAt > 1_000, 'the writer had its second');
  await controller.stop();
});

test('a hint brings a clock about at once', async () => {
  const controller = controllerOf(room.temporal);
  controller.start();
  await until(
    'the listener',
    async () =>
      (await room.pool.query(`SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN almanac_clocks'`))
        .rowCount === 1,
  );
  const { id } = await seedClock(room.pool);
  await room.pool.query('UPDATE clocks SET reconcile_at = now() WHERE id = $1', [id]);
  await room.pool.query(`SELECT pg_notify('almanac_clocks', $1)`, [id]);
  const hintedAt = Date.now();
  await until('its schedule', async () => (await clockState(room.pool, id))?.observed === 1);
  assert.ok(Date.now() - hintedAt < 1_200, `took ${Date.now() - hintedAt} ms`);
  await controller.stop();
});

test('the process boots without Temporal, says ready, serves metrics and ends on SIGTERM', async () => {
  const port = await freePort();
  const controller = await startProcess('controller', {
    DATABASE_URL: room.databaseUrl,
    TEMPORAL_ADDRESS: '127.0.0.1:1',
    METRICS_PORT: String(port),
  });
  await controller.line((line) => line.msg === 'Temporal is away; waiting for it');
  const metrics = await until('the gauges', async () => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    return /reconcile_pending\{[^}]*\} \d/.test(text) ? text : null;
  });
  assert.match(metrics, /active_jobs_gauge\{state="active",process="controller"\} \d+/);
  assert.equal((await fetch(`http://127.0.0.1:${port}/health/ready`)).status, 503);
  const stoppedAt = Date.now();
  assert.equal(await controller.stop(), 0);
  assert.ok(Date.now() - stoppedAt < 30_000);
});
