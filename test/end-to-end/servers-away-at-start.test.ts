/** All processes start while neither server is there; the servers come in either order; then everything works. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startAlmanac } from '../support/almanac.ts';
import { ownPostgres, ownTemporal } from '../support/own-servers.ts';

for (const first of ['Postgres', 'Temporal'] as const) {
  test(`processes that start before both servers work once both are there, ${first} first`, async () => {
    const [postgres, temporal] = await Promise.all([ownPostgres(), ownTemporal()]);
    const [one, other] = first === 'Postgres' ? [postgres, temporal] : [temporal, postgres];
    const starting = startAlmanac({ servers: { databaseUrl: postgres.address, temporalAddress: temporal.address } });
    try {
      await one.start();
      await other.start();
      const { api, close } = await starting;
      try {
        const created = await api.post('/jobs', {
          name: 'first',
          schedule: { every: '1h' },
          target: { type: 'handler', name: 'heartbeat-report' },
        });
        assert.equal(created.status, 201, created.text);
        const done = await api.post('/schedule/first/trigger?wait=30s');
        assert.deepEqual([done.status, done.body.status], [200, 'succeeded'], done.text);
        assert.equal((await api.get('//health/ready')).status, 200);
      } finally {
        await close();
      }
    } finally {
      await starting.catch(() => {});
      await Promise.all([postgres.close(), temporal.close()]);
    }
  });
}
