/**
 * Parallel POSTs with one Idempotency-Key, spread over two API processes: one row, one schedule, one audit event, one answer.
 * As a program: `node test/end-to-end/one-key-rounds.ts [rounds]` (default 50).
 */
import assert from 'node:assert/strict';
import { type Almanac, startAlmanac } from '../support/almanac.ts';

const AT_ONCE = 20;

export async function oneKeyRounds({ apis, pool, temporal }: Almanac, rounds: number): Promise<{ slowestMs: number }> {
  let slowestMs = 0;
  for (let round = 1; round <= rounds; round += 1) {
    const name = `round ${round}`;
    const document = { name, schedule: { cron: '0 4 * * *' }, target: { type: 'handler', name: 'heartbeat-report' } };
    const started = Date.now();
    const answers = await Promise.all(
      Array.from({ length: AT_ONCE }, (_, n) => apis[n % apis.length]!.post('/jobs', document, { 'idempotency-key': `key-${round}` })),
    );
    slowestMs = Math.max(slowestMs, Date.now() - started);
    const [first] = answers;
    for (const answer of answers) {
      assert.equal(answer.status, 201, answer.text);
      assert.equal(answer.text, first!.text, `round ${round}: one body`);
      assert.equal(answer.headers.get('location'), first!.headers.get('location'));
    }
    const { rows } = await pool.query(
      `SELECT (SELECT count(*)::int FROM jobs WHERE name = $1) AS jobs,
              (SELECT count(*)::int FROM clocks WHERE id = $2) AS clocks,
              (SELECT count(*)::int FROM job_revisions WHERE job_id = $2) AS revisions,
              (SELECT count(*)::int FROM audit_events WHERE subject_id = $2) AS events`,
      [name, first!.body.id],
    );
    assert.deepEqual(rows[0], { jobs: 1, clocks: 1, revisions: 1, events: 1 }, `round ${round}`);
    await temporal.schedule.getHandle(first!.body.id).describe();
  }
  const known = await pool.query(`SELECT id FROM jobs`);
  const ids = new Set(known.rows.map(({ id }) => id as string));
  for await (const { scheduleId } of temporal.schedule.list()) assert.ok(ids.has(scheduleId), `${scheduleId} belongs to a row`);
  return { slowestMs };
}

if (import.meta.main) {
  const almanac = await startAlmanac({ apis: 2, workers: 0, controllers: 1 });
  try {
    const rounds = Number(process.argv[2] ?? 50);
    const { slowestMs } = await oneKeyRounds(almanac, rounds);
    console.log(
      `${rounds} rounds of ${AT_ONCE}: one row, one schedule, one audit event and one answer each; slowest round ${slowestMs} ms`,
    );
  } finally {
    await almanac.close();
  }
}
