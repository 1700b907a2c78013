/**
 * Writes the histories that `replay.test.ts` replays: one of every path through executeJob, from real runs. Run it by hand after a change of the
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
  else if (call.path === '/third') response.writeHead(call.attempt === 3 ? 200 : 503).end();
  else if (call.path === '/gone') response.writeHead(404).end();
});
const retry = { maxAttempts: 3, initialInterval: '100ms', backoffCoefficient: 1 };
const made = async (name: string, more: object) =>
  (await api.post('/jobs', { name, target: { type: 'http', url: `${receiver.url}/fine` }, ...more })).body.id as string;
const asked = async (job: string) => (await api.post(`/schedule/${job}/trigger`, {})).body.id as string;

async function write(name: string, job: string, id: string): Promise<void> {
  await almanac.finished(job, id).catch(() => {});
  const handle = temporal.workflow.getHandle(id);
  await handle.result().catch(() => {});
  const history = await handle.fetchHistory();
  writeFileSync(`${FOLDER}${name}.bin`, protocol.temporal.api.history.v1.History.encode(history).finish());
  process.stdout.write(`${name}: ${history.events?.length} events\n`);
}

const target = (path: string) => ({ target: { type: 'http', url: `${receiver.url}${path}` } });
const triggered = await made('triggered', {});
await write('triggered', triggered, await asked(triggered));

const scheduled = await made('scheduled', { schedule: { every: '2s' } });
const [slot] = (await receiver.received(2), await api.get(`/executions/${scheduled}`)).body.items;
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

await receiver.close();
await almanac.close();
await stack.stop();
