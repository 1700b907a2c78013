/** What a process does before anybody asks it leaves no trace. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { rehearsePools } from '../../src/activities/pools/rehearsal.ts';
import { createLog } from '../../src/log.ts';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';

let almanac: Almanac;
before(async () => {
  almanac = await startAlmanac({ workers: 0, controllers: 0, settings: { LOG_LEVEL: 'debug' } });
});
after(() => almanac?.close());

test('the rehearsal of an API process writes nothing and is in none of its numbers', async () => {
  const [api] = almanac.processes.api;
  const line = await until('it is over', () => api!.lines.find(({ msg }) => msg === 'hot requests were rehearsed'));
  assert.ok(Number(line.answered) > 0, `${line.answered} answered`);
  const { rows } = await almanac.pool.query(
    'SELECT (SELECT count(*) FROM jobs)::int AS jobs, (SELECT count(*) FROM job_executions)::int AS executions, (SELECT count(*) FROM audit_events)::int AS events',
  );
  assert.deepEqual(rows[0], { jobs: 0, executions: 0, events: 0 });
  const { text } = await almanac.api.get('//metrics');
  assert.ok(!/api_requests_total\{.*schedule.*trigger/.test(text), text);
});

test('the rehearsal of pools asks every statement that a burst needs, and writes nothing', async () => {
  await rehearsePools(almanac.pool, createLog('test', 'silent'));
  const { rows } = await almanac.pool.query('SELECT count(*)::int AS rows FROM job_executions');
  assert.equal(rows[0].rows, 0);
});
