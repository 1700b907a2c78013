/**
 * Writes the histories that `replay.test.ts` replays: one of every path through executeJob, serveSlot, servePool and runOperation, from real runs. Run it by hand after a change of the
 * workflow that old histories cannot follow any more (and say in the changelog how running ones are carried over):
 *   node test/workflows/record-histories.ts
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import protocol from '@temporalio/proto';
import { startAlmanac } from '../support/almanac.ts';
import { startReceiver } from '../support/receiver.ts';
import { startStack } from '../support/stack.ts';

const FOLDER = fileURLToPath(new URL('../histories/', import.meta.url));
const stack = await startStack();
process.env.ALMANAC_TEST_DATABASE_URL = stack.databaseUrl;
process.env.ALMANAC_TEST_TEMPORAL_ADDRESS = stack.temporalAddress;
const almanac = await startAlmanac();
const { api, temporal } = almanac;
const receiver = await startReceiver((call, response) => {
  if (call.path === '/fine') response.end('fine');
  else if (call.path === '/slow') setTimeout(() => response.end('slow'), 1_000);
  else if (call.path === '/third') response.writeHead(call.attempt === 3 ? 200 : 503).end();
  else if (call.path === '/gone') response.writeHead(404).end();
});
const retry = { maxAttempts: 3, initialInterval: '100ms', backoffCoefficient: 1 };
const made = async (name: string, more: object) =>
  (await api.post('/jobs', { name, target: { type: 'http', url: `${receiver.url}/fine` }, ...more })).body.id as string;
const asked = async (job: string) => (await api.post(`/schedule/${job}/trigger`, {})).body.id as string;

async function write(name: string, job: string, id: string): Promise<void> {
  await almanac.finished(job, id).catch(() => {});
  await writeWorkflow(name, id);
}

async function writeWorkflow(name: string, id: string): Promise<void> {
  const handle = temporal.workflow.getHandle(id);
  await handle.result().catch(() => {});
  const history = await handle.fetchHistory();
  writeFileSync(`${FOLDER}${name}.bin`, protocol.temporal.api.history.v1.History.encode(history).finish());
  process.stdout.write(`${name}: ${history.events?.length} events\n`);
}

const target = (path: string) => ({ target: { type: 'http', url: `${receiver.url}${path}` } });
const triggered = await made('triggered', {});
await write('triggered', triggered, await asked(triggered));

const scheduled = await made('scheduled', { dispatch: 'dedicated', schedule: { every: '2s' } });
await receiver.received(2);
const [slot] = (await api.get(`/executions/${scheduled}`)).body.items;
await write('scheduled', scheduled, slot.id);
await api.call('DELETE', `/jobs/${scheduled}`);

const third = await made('third time', { ...target('/third'), retry });
await write('three-attempts', third, await asked(third));
const gone = await made('gone', target('/gone'));
await write('failed', gone, await asked(gone));

const skipping = await made('buffered', { ...target('/never'), overlap: 'buffer_all', timeout: '3s', retry: { ...retry, maxAttempts: 1 } });
const [first, second] = [await asked(skipping), await asked(skipping)];
await write('timed-out', skipping, first);
await write('waited', skipping, second);

const long = await made('long', { ...target('/fine'), timeout: '1h' });
await write('long', long, await asked(long));
const cancelled = await made('cancelled', { ...target('/never'), timeout: '1h' });
const cancelledRun = await asked(cancelled);
const before = receiver.calls.length;
await receiver.received(before + (receiver.calls.some((call) => call.execution === cancelledRun) ? 0 : 1));
await api.post(`/executions/${cancelled}/${cancelledRun}/cancel`, {});
await write('cancelled', cancelled, cancelledRun);

const once = await made('once', { schedule: { delay: '1s' } });
await receiver.received(receiver.calls.length + 1);
const [only] = (await api.get(`/executions/${once}`)).body.items;
await write('once', once, only.id);

/** The workflow of one of a job's executions. */
const poolOf = async (job: string): Promise<string> => (await api.get(`/executions/${job}`)).body.items.at(-1).workflowId;
const inputsOf = (job: string, count: number) =>
  api.post(`/schedule/${job}/trigger`, { inputs: Array.from({ length: count }, (_, input) => input) });

const pooled = { dispatch: 'pooled', overlap: 'allow_all' };
const slots = await made('pooled slots', { ...pooled, schedule: { every: '2s', jitter: '1s' } });
await receiver.received(receiver.calls.length + 2);
await writeWorkflow('pool-slot', await poolOf(slots));
await api.call('DELETE', `/jobs/${slots}`);

// no more than fit one range are served in the breath that plans them, more by activities
for (const [name, count] of [
  ['pool-small-group', 20],
  ['pool-group', 400],
] as const) {
  const group = await made(name, pooled);
  await inputsOf(group, count);
  await writeWorkflow(name, await poolOf(group));
}

const crashed = await made('pool crashed', { ...pooled, ...target('/slow') });
const earlier = receiver.calls.length;
await inputsOf(crashed, 300);
await receiver.received(earlier + 60);
await almanac.processes.worker[0]!.kill();
await almanac.start('worker');
await writeWorkflow('pool-crashed', await poolOf(crashed));

const twice = await made('pool due later', { ...pooled, schedule: { at: new Date(Date.now() + 6_000).toISOString() } });
await made('pool due later too', { ...pooled, schedule: { at: new Date(Date.now() + 6_000).toISOString() } });
await receiver.received(receiver.calls.length + 2);
await writeWorkflow('pool-bucket', await poolOf(twice));

const stuck = await made('pool cancelled', { ...pooled, ...target('/never') });
await inputsOf(stuck, 2);
await receiver.received(receiver.calls.length + 2);
await temporal.workflow.getHandle(await poolOf(stuck)).cancel();
await writeWorkflow('pool-cancelled', await poolOf(stuck));

const many: string[] = [];
for (let nth = 0; nth < 6; nth += 1) many.push(await made(`operation ${nth}`, {}));
/** Under way: its first item is done. */
const operation = async (ratePerMinute: number) => {
  const { id } = (await api.post('/bulk-operations', { action: 'trigger', jobs: { ids: many }, ratePerMinute })).body;
  while ((await api.get(`/bulk-operations/${id}`)).body.progress.done === 0) await new Promise((resolve) => setTimeout(resolve, 100));
  return id as string;
};
// one item every two seconds: it waits in the workflow between two
await writeWorkflow('operation', await operation(30));
const cancelledOperation = await operation(2);
await temporal.workflow.getHandle(cancelledOperation).cancel();
await writeWorkflow('operation-cancelled', cancelledOperation);
// shorter waits are made by the activity: it dies with its worker
const crashedOperation = await operation(120);
await almanac.processes.worker.at(-1)!.kill();
await almanac.start('worker');
await writeWorkflow('operation-crashed', crashedOperation);

await receiver.close();
await almanac.close();
await stack.stop();
