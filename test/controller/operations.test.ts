/** Operations that nobody looks after are started, and started again; Temporal is not asked. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createOperationLoop } from '../../src/controller/operations.ts';
import { createServers } from '../../src/controller/servers.ts';
import { operationTake } from '../../src/jobs/operations/operation-store.ts';
import { operationsForget } from '../../src/jobs/operations/operation-watch-store.ts';
import { inTransaction } from '../../src/postgres.ts';
import { openRoom, type Room, silent, until } from './room.ts';

let room: Room;
before(async () => {
  room = await openRoom();
});
after(() => room.close());

const seed = (id: string, columns = 'look_at', values = 'now()', kind = 'pause') =>
  room.pool.query(
    `INSERT INTO operations (id, team, kind, asked, params, total, requested_by, ${columns}) VALUES ($1, 'default', $2, '{}', '{}', 1, 'tests', ${values})`,
    [id, kind],
  );

test('one that was just written is started; one that is worked on, or has ended, is left alone; one that is lost, or could not be started, is started again', async (t) => {
  await seed('op_new');
  await seed('op_attended');
  await seed('op_lost', 'state, look_at', `'running', now() - interval '1 second'`);
  await seed('op_ended', 'state, finished_at', `'completed', now()`);
  await inTransaction(room.pool, (tx) => operationTake(tx, 'default', 'op_attended', 60_000));
  const asked: string[] = [];
  const starts = {
    start: async (_team: string, id: string) => {
      asked.push(id);
      // the first time Temporal does not take it
      return id !== 'op_lost' || asked.filter((one) => one === id).length > 1;
    },
  };
  const servers = createServers({ pool: room.pool, temporal: room.temporal, log: silent, onBack: () => {} });
  const loop = createOperationLoop({ pool: room.pool, starts, servers, log: silent });
  loop.start();
  t.after(async () => {
    await loop.stop();
    await servers.stop();
  });
  await until('the lost one is started again', async () => asked.filter((id) => id === 'op_lost').length === 2);
  assert.deepEqual(asked.toSorted(), ['op_lost', 'op_lost', 'op_new']);
});

test('operations are forgotten 90 days after their end, backfills after 400, with their items', async () => {
  const ended = (days: number) => [`state, finished_at`, `'completed', now() - interval '${days} days'`] as const;
  await seed('op_old', ...ended(91));
  await seed('op_young', ...ended(89));
  await seed('op_old_backfill', ...ended(401), 'backfill');
  await seed('op_young_backfill', ...ended(399), 'backfill');
  await room.pool.query(`INSERT INTO operation_items (operation_id, position, team, job_id) VALUES ('op_old', 1, 'default', 'job_x')`);
  assert.equal(await operationsForget(room.pool, 90, 400, 10), 2);
  const { rows } = await room.pool.query<{ id: string }>(
    `SELECT id FROM operations WHERE id LIKE '%old%' OR id LIKE '%young%' ORDER BY id`,
  );
  assert.deepEqual(
    rows.map(({ id }) => id),
    ['op_young', 'op_young_backfill'],
  );
  assert.equal((await room.pool.query('SELECT 1 FROM operation_items')).rowCount, 0);
});
