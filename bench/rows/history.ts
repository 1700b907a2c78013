/** `history`: how many events of Temporal history a scheduled execution takes, admit, run and record included. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Almanac, startAlmanac } from '../stack/almanac.ts';
import { until } from '../stack/processes.ts';
import type { Row } from './row.ts';

const END_MS = 60_000;
type Found = { id: string; attempt: number; workflow_id: string };

export const history: Row = async ({ servers, folder }) => {
  const almanac = await startAlmanac(await servers(), 'history', folder, ['api', 'worker', 'controller']);
  const receiver = createServer((_request, response) => response.end('{}')).listen(0, '127.0.0.1');
  const url = () => `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
  await once(receiver, 'listening');
  try {
    const handler = await eventsOf(almanac, 'short', { type: 'handler', name: 'bench-noop' }, 1);
    const http = await eventsOf(almanac, 'http', { type: 'http', url: url(), method: 'POST' }, 1);
    const three = await eventsOf(almanac, 'three-attempts', { type: 'handler', name: 'bench-third-time-lucky' }, 3);
    return {
      lines: [
        { what: 'short scheduled execution', unit: 'events', ours: handler.events, bound: { atMost: 8 } },
        { what: 'http, scheduled', unit: 'events', ours: http.events },
        { what: '3 attempts, scheduled', unit: 'events', ours: three.events },
      ],
      facts: { 'short types': handler.types, '3 attempts types': three.types },
    };
  } finally {
    receiver.close();
    receiver.closeAllConnections();
    await almanac.close();
  }
};

/** Runs a job on a schedule, waits for its first success and reads that workflow's history. */
async function eventsOf(almanac: Almanac, name: string, target: object, attempts: number): Promise<{ events: number; types: string }> {
  const { id } = await almanac.call<{ id: string }>('POST', '/api/v1/jobs', {
    name,
    schedule: { every: '2s' },
    target,
    retry: { initialInterval: '200ms', maxAttempts: attempts },
  });
  let found: Found | undefined;
  await until(`an execution of ${name}`, END_MS, async () => {
    const { rows } = await almanac.pool.query<Found>(
      `SELECT id, attempt, workflow_id FROM job_executions WHERE job_id = $1 AND status = 'succeeded' AND trigger = 'schedule' ORDER BY slot LIMIT 1`,
      [id],
    );
    found = rows[0];
    return found !== undefined;
  });
  if (found!.attempt !== attempts) throw new Error(`${name}: ${found!.attempt} attempts instead of ${attempts}`);
  await almanac.call('DELETE', `/api/v1/jobs/${id}`);
  const handle = almanac.client.workflow.getHandle(found!.workflow_id);
  await handle.result();
  const { events } = await handle.fetchHistory();
  const types = (events ?? []).map(({ eventType }) => EVENT_NAMES[Number(eventType)] ?? String(eventType));
  return { events: types.length, types: types.join(' ') };
}

/** Temporal's numbers of event types (temporal.api.enums.v1.EventType), as far as our workflows can have them. */
const EVENT_NAMES: Record<number, string> = {
  1: 'WorkflowStarted',
  2: 'WorkflowCompleted',
  3: 'WorkflowFailed',
  5: 'TaskScheduled',
  6: 'TaskStarted',
  7: 'TaskCompleted',
  10: 'ActivityScheduled',
  11: 'ActivityStarted',
  12: 'ActivityCompleted',
  17: 'TimerStarted',
  18: 'TimerFired',
  25: 'Marker',
};
