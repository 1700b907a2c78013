/** Many triggers in one statement end as they would have ended one by one: random jobs and sequences, judged by the statement that takes one at a time. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { v7 } from 'uuid';
import { readConfig } from '../../src/config.ts';
import { newExecutionId, partitionAtOf } from '../../src/jobs/ids.ts';
import { admitTriggers, type TriggerQuestion } from '../../src/jobs/trigger-store.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { createRandom } from '../chaos/random.ts';
import { countersOf, seedJob } from '../support/seed.ts';
import { createTestDatabase } from '../support/stack.ts';

const OVERLAPS = ['skip', 'buffer_one', 'buffer_all', 'cancel_other', 'terminate_other', 'allow_all'];
const BUFFER_LIMIT = 3;

let pool: Pool;
const closing: (() => Promise<unknown>)[] = [];
before(async () => {
  const database = await createTestDatabase();
  pool = createPool(readConfig({ DATABASE_URL: database.url }), createLog('test', 'silent'), 'test');
  closing.push(() => pool.end(), database.drop);
});
after(async () => {
  for (const close of closing) await close();
});

function questionOf(job: string): TriggerQuestion {
  const id = newExecutionId(job, 'manual');
  return {
    team: 'default',
    job,
    id,
    partitionAt: partitionAtOf(id)!,
    kind: 'manual',
    slot: null,
    input: null,
    hasInput: false,
    requestedBy: 'tester',
    retryOf: null,
    pinnedGeneration: null,
    timeoutMs: null,
    bufferLimit: BUFFER_LIMIT,
    requestId: 'request',
  };
}

/** The statement of the release before, which takes one. */
async function admitAlone(asked: TriggerQuestion): Promise<string> {
  const { rows } = await pool.query(
    'SELECT verdict FROM admit_trigger($1, $2, $3, $4, $5, NULL, NULL, false, $6, NULL, NULL, NULL, $7, $8)',
    [asked.team, asked.job, asked.id, asked.partitionAt, asked.kind, asked.requestedBy, asked.bufferLimit, asked.requestId],
  );
  return rows[0].verdict;
}

type State = { overlap: string; before: ('queued' | 'running' | 'between')[]; enabled: boolean; paused: boolean };

/** A job with executions that wait, run, or are between two tries. */
async function jobIn(state: State): Promise<string> {
  const { id } = await seedJob(pool, { overlap: state.overlap });
  for (const status of state.before) {
    const asked = questionOf(id);
    await admitAlone(asked);
    if (status === 'queued') continue;
    await pool.query(
      `UPDATE job_executions SET status = 'running', attempt = 1, tries = $2, started_at = now() WHERE id = $1 AND status = 'queued' AND NOT waiting`,
      [asked.id, status === 'between' ? 1 : 0],
    );
    if (status === 'between')
      await pool.query(
        `INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at)
         SELECT partition_at, id, 1, team, 'failed', now(), now() FROM job_executions WHERE id = $1 AND attempt = 1`,
        [asked.id],
      );
  }
  await pool.query(
    `UPDATE job_runtime SET enabled = $2, block_manual = $3, paused_at = CASE WHEN $3 THEN now() END, poolable = true, dispatch_wish = 'pooled' WHERE job_id = $1`,
    [id, state.enabled, state.paused],
  );
  return id;
}

/** Everything that a caller or another execution could see, without ids and times. */
async function outcomeOf(job: string) {
  const { rows } = await pool.query(
    `SELECT e.status, e.reason, e.waiting AND e.status IN ('queued', 'running') AS waiting, e.counted AND e.status IN ('queued', 'running') AS counted,
            e.finished_at IS NOT NULL AS finished, e.cancel_requested_at IS NOT NULL AS told, e.attempt, e.trigger, e.generation, e.max_attempts
       FROM job_executions e WHERE e.job_id = $1 ORDER BY e.id`,
    [job],
  );
  const events = await pool.query(
    `SELECT action, after ->> 'verdict' AS verdict, actor, request_id FROM audit_events WHERE subject_id = $1 ORDER BY after ->> 'execution'`,
    [job],
  );
  const { active, waiting, rowsActive, rowsWaiting } = await countersOf(pool, job);
  assert.deepEqual([active, waiting], [rowsActive, rowsWaiting]);
  return { rows, events: events.rows, active, waiting };
}

test('120 random statements over several jobs end as one by one', async () => {
  const { between, chance, pick } = createRandom(7);
  const some = <T>(least: number, most: number, make: () => T): T[] => Array.from({ length: between(least, most) }, make);
  for (let round = 0; round < 120; round++) {
    const states = some(
      1,
      3,
      (): State => ({
        overlap: pick(OVERLAPS),
        before: some(0, 3, () => pick(['queued', 'running', 'between'] as const)),
        enabled: !chance(0.05),
        paused: chance(0.05),
      }),
    );
    const alone: string[] = [];
    const together: string[] = [];
    for (const state of states) {
      alone.push(await jobIn(state));
      together.push(await jobIn(state));
    }
    const order = some(1, 8, () => between(0, states.length - 1));
    const verdicts: string[] = [];
    for (const nth of order) verdicts.push(await admitAlone(questionOf(alone[nth]!)));
    const answers = await admitTriggers(
      pool,
      order.map((nth) => questionOf(together[nth]!)),
      { open: {}, fresh: v7(), audit: true },
    );
    const said = JSON.stringify({ round, states, order });
    assert.deepEqual(
      answers.map((answer) => answer.verdict),
      verdicts,
      said,
    );
    for (const nth of states.keys()) assert.deepEqual(await outcomeOf(together[nth]!), await outcomeOf(alone[nth]!), said);
  }
  // pooled are those that may run, and nobody else
  const { rows } = await pool.query(
    `SELECT count(*)::int AS wrong FROM job_executions
      WHERE (dispatch = 'pooled') <> (workflow_id <> id) OR (dispatch = 'pooled' AND (waiting OR status <> 'queued') AND finished_at IS NULL AND attempt = 0)`,
  );
  assert.equal(rows[0].wrong, 0);
});
