/** Where the facts take place: one Almanac for all facts of a kind of dispatch, and an address of its own for each, so that they don't disturb each other. */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../src/embedded/ports.ts';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Answer, Body } from '../support/client.ts';
import { type ReceivedCall, startReceiver } from '../support/receiver.ts';

export type Kind = 'dedicated' | 'pooled';
type AnswerCall = Parameters<typeof startReceiver>[0] & {};
export type Endpoint = {
  url: string;
  /** What has come in so far. */
  calls: ReceivedCall[];
  /** Settles when that many calls have come in. */
  received: (count: number) => Promise<ReceivedCall[]>;
};
/** An address that answers a call when it is told to, the oldest first. */
export type Gate = Endpoint & { release: () => void };

export type Scene = {
  kind: Kind;
  almanac: Almanac;
  metricsUrl: string;
  endpoint: (answer?: AnswerCall) => Endpoint;
  gate: () => Gate;
  /** Creates a job with this kind of dispatch that calls the address. */
  job: (target: Endpoint | object, more?: object) => Promise<Body>;
  /** The execution; of one that is refused because another was first, its row and `refusedFor`, which is that other. */
  trigger: (job: Body, body?: object) => Promise<Body>;
  /** Triggers, and waits for the end. */
  run: (job: Body, body?: object) => Promise<Body>;
  /** The execution when it has ended, with its attempts. */
  ended: (job: Body, execution: Body) => Promise<Body>;
  /** Executions of slots, in their order. */
  slots: (job: Body) => Promise<Body[]>;
  /** The same when there are that many and all of them have ended. */
  endedSlots: (job: Body, count?: number) => Promise<Body[]>;
  ok: (status: number, answer: Promise<Answer>) => Promise<Body>;
  close: () => Promise<void>;
};

export async function openScene(kind: Kind): Promise<Scene> {
  const routes = new Map<string, (...call: Parameters<AnswerCall>) => void>();
  const receiver = await startReceiver((call, response, nth) => routes.get(call.path.split('/')[1]!)?.(call, response, nth));
  const metricsPort = await freePort();
  const almanac = await startAlmanac({
    workers: 0,
    settings: {
      ALMANAC_HANDLERS: fileURLToPath(new URL('./handlers', import.meta.url)),
      CATEGORY_QUEUES: 'narrow=narrow,outage=outage,nobody=nobody',
      TEMPORAL_UI_URL: 'http://temporal.example',
    },
  });
  await almanac.start('worker', { METRICS_PORT: String(metricsPort) });
  const { api } = almanac;
  let names = 0;

  const endpoint: Scene['endpoint'] = (answer = (_call, response) => response.end('done')) => {
    names += 1;
    const calls: ReceivedCall[] = [];
    routes.set(`e${names}`, (call, response) => {
      calls.push(call);
      answer(call, response, calls.length);
    });
    return {
      url: `${receiver.url}/e${names}`,
      calls,
      received: (count) => until(`${count} calls`, () => calls.length >= count && calls),
    };
  };
  const ok: Scene['ok'] = async (status, answer) => {
    const { status: got, text, body } = await answer;
    assert.equal(got, status, text);
    return body;
  };
  const trigger: Scene['trigger'] = async (job, body) => {
    const answer = await api.post(`/schedule/${job.id}/trigger`, body);
    if (answer.status !== 409 || answer.body.code !== 'overlap') return await ok(202, Promise.resolve(answer));
    return { id: answer.body.skippedId, refusedFor: answer.body.executionId };
  };
  const ended: Scene['ended'] = (job, execution) => almanac.finished(job.id, execution.id, 60_000);
  const slots: Scene['slots'] = async (job) =>
    (await ok(200, api.get(`/executions/${job.id}?trigger=schedule&limit=200`))).items.toReversed();
  return {
    kind,
    almanac,
    metricsUrl: `http://127.0.0.1:${metricsPort}/metrics`,
    endpoint,
    gate() {
      const held: (() => void)[] = [];
      const behind = endpoint((_call, response) => held.push(() => response.end('at last')));
      return { ...behind, release: () => held.shift()?.() };
    },
    job: (target, more = {}) => {
      names += 1;
      const whole = 'url' in target && 'calls' in target ? { type: 'http', url: target.url } : target;
      return ok(201, api.post('/jobs', { name: `${kind} ${names}`, dispatch: kind, target: whole, ...more }));
    },
    trigger,
    run: async (job, body) => ended(job, await trigger(job, body)),
    ended,
    slots,
    endedSlots: (job, count = 1) =>
      until(
        `${count} slots of ${job.name} have ended`,
        async () => {
          const rows = await slots(job);
          return rows.length >= count && rows.every((row) => row.finishedAt !== null) ? rows : undefined;
        },
        60_000,
      ),
    ok,
    async close() {
      await almanac.close();
      await receiver.close();
    },
  };
}

/** A retry block without long pauses. */
export const quickly = (maxAttempts: number, more: object = {}) => ({
  retry: { maxAttempts, initialInterval: '100ms', backoffCoefficient: 1, ...more },
});

/** A schedule that fires so many times, from a moment ahead on. */
export function firing(times: number, inMs = 3_000, everyS = 1): { schedule: object; first: number } {
  const everyMs = everyS * 1_000;
  const first = Math.ceil((Date.now() + inMs) / everyMs) * everyMs;
  const [startAt, endAt] = [new Date(first), new Date(first + times * everyMs - 500)].map((time) => time.toISOString());
  return { schedule: { every: `${everyS}s`, startAt, endAt }, first };
}

/** What an answer says of an execution, as far as it ends. */
export const endOf = (row: Body): [string, string | null] => [row.status, row.reason];
