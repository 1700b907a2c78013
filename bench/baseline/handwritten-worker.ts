/** Worker of the hand-written workflows: as many slots, cached workflows and pollers as Almanac's own worker. It tells the parent of every finished activity. */
import { fileURLToPath } from 'node:url';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';
import pg from 'pg';

const slots = Number(process.env.SLOTS);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });
const nothing = () => {};
Runtime.install({
  shutdownSignals: [],
  logger: { log: nothing, trace: nothing, debug: nothing, info: nothing, warn: console.warn, error: console.error },
});

/** The same work as the handler that Almanac runs beside it. */
const work = async (id: string) => ({ answered: id });
const finished: Record<string, number> = {};
const finish = (id: string) => {
  finished[id] = performance.timeOrigin + performance.now();
};

const activities = {
  async plain(id: string) {
    const result = await work(id);
    finish(id);
    return result;
  },
  async withRow(id: string) {
    const startedAt = new Date();
    const result = await work(id);
    await pool.query({
      name: 'insert-row',
      text: `INSERT INTO handwritten_executions (id, status, started_at, finished_at, result) VALUES ($1, 'succeeded', $2, now(), $3) ON CONFLICT (id) DO NOTHING`,
      values: [id, startedAt, JSON.stringify(result)],
    });
    finish(id);
    return result;
  },
};

await pool.query(
  'CREATE TABLE IF NOT EXISTS handwritten_executions (id text PRIMARY KEY, status text NOT NULL, started_at timestamptz NOT NULL, finished_at timestamptz NOT NULL, result json)',
);
const worker = await Worker.create({
  connection: await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS! }),
  namespace: process.env.TEMPORAL_NAMESPACE!,
  taskQueue: 'handwritten',
  workflowsPath: fileURLToPath(new URL('./handwritten-workflow.ts', import.meta.url)),
  activities,
  maxConcurrentWorkflowTaskExecutions: slots,
  maxConcurrentActivityTaskExecutions: slots,
  maxConcurrentLocalActivityExecutions: slots,
  maxCachedWorkflows: 500,
});

// Asked for nothing in particular, it answers with all finished activities since it was last asked: id and time in milliseconds since 1970.
process.on('message', () => {
  process.send?.({ result: { ...finished } });
  for (const id in finished) delete finished[id];
});
process.once('disconnect', () => worker.shutdown());
const running = worker.run();
process.send?.({ ready: true });
await running;
await pool.end();
process.exit();
