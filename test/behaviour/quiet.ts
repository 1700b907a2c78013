/** When all is quiet again: the counters agree with the rows, and nothing is left unfinished. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/almanac.ts';
import type { Scene } from './scene.ts';

export function quietFacts(scene: () => Scene): void {
  test('every execution has ended, and every job counts none', async () => {
    const { pool } = scene().almanac;
    await until('nothing is unfinished', async () => {
      const { rows } = await pool.query(
        `SELECT (SELECT count(*) FROM job_executions WHERE status IN ('queued', 'running'))::int + (SELECT count(*) FROM job_runtime WHERE active <> 0 OR waiting <> 0)::int AS left`,
      );
      return rows[0].left === 0;
    });
    const { rows } = await pool.query(
      `SELECT job_id, slot, count(*) FROM job_executions WHERE trigger = 'schedule' GROUP BY 1, 2 HAVING count(*) > 1`,
    );
    assert.deepEqual(rows, [], 'one row for each job and slot');
    const { rows: told } = await pool.query(
      `SELECT e.id, e.attempt, count(a.attempt)::int AS attempts FROM job_executions e
         LEFT JOIN job_attempts a ON a.partition_at = e.partition_at AND a.execution_id = e.id
        GROUP BY e.partition_at, e.id, e.attempt HAVING count(a.attempt) <> e.attempt`,
    );
    assert.deepEqual(told, [], 'a row for each attempt');
  });

  test('the worker’s counters are what it has ended', async () => {
    const { almanac, metricsUrl } = scene();
    // by the process that made the last attempt: other workers count their own
    const { rows } = await almanac.pool.query(
      `SELECT e.status, e.trigger, count(*)::int AS count FROM job_executions e
         JOIN job_attempts a ON a.partition_at = e.partition_at AND a.execution_id = e.id AND a.attempt = e.attempt
        WHERE a.worker LIKE '%/' || $1 AND e.status IN ('succeeded', 'failed', 'timed_out') GROUP BY 1, 2`,
      [almanac.processes.worker[0]!.pid],
    );
    const text = await (await fetch(metricsUrl)).text();
    const counted = [...text.matchAll(/^jobs_executed_total\{status="(\w+)",trigger="(\w+)"[^}]*\} (\d+)$/gm)]
      .map(([, status, trigger, count]) => ({ status, trigger, count: Number(count) }))
      .filter(({ status }) => status === 'succeeded' || status === 'failed' || status === 'timed_out');
    const sorted = (all: { status: string | undefined; trigger: string | undefined; count: number }[]) =>
      all.map(({ status, trigger, count }) => `${status} ${trigger} ${count}`).sort();
    assert.deepEqual(sorted(counted), sorted(rows));
    for (const one of [/^schedule_lateness_seconds_count\{.*\} [1-9]/m, /^job_execution_duration_count\{.*status="succeeded".*\} [1-9]/m])
      assert.ok(one.test(text), String(one));
  });
}
