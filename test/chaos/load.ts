/** The load: jobs of every kind, made and used through the API while things die. Keeps a ledger of what was acknowledged. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import type { Random } from './random.ts';

type Document = Record<string, unknown>;
export type AcknowledgedJob = {
  id: string;
  name: string;
  kind: 'clock' | 'once' | 'demand';
  /** As its document says it; null: it has to have a clock of its own. */
  dispatch: string | null;
  /** The schedule as last acknowledged. */
  schedule: Document | undefined;
  overlap: string;
  deleted: boolean;
};
export type AcknowledgedTrigger = { execution: string; job: string; key: string };
export type Ledger = { jobs: Map<string, AcknowledgedJob>; triggers: AcknowledgedTrigger[]; refused: string[] };
export type Load = {
  ledger: Ledger;
  setUp: () => Promise<void>;
  /** Something now and then, until `stop`. */
  begin: () => void;
  /** That many triggers of lasting calls at once; resolves when all are acknowledged. */
  burst: (count: number) => Promise<unknown>;
  /** Ends the load, then pauses every job that has a clock. Answers when the last one was paused. */
  quiesce: () => Promise<void>;
};

const RETRY = { maxAttempts: 3, initialInterval: '500ms', backoffCoefficient: 2, maxInterval: '5s' };
const MOST_CLOCKS = 20;
/** Of calls that no pool takes. */
const LONG = '20s';

export function createLoad({
  client,
  random,
  targetUrl,
  pauseMs,
  long,
}: {
  client: Client;
  random: Random;
  targetUrl: string;
  /** Between two things that the load does, milliseconds. */
  pauseMs: number;
  /** With a target whose calls take longer than 10 s. */
  long: boolean;
}): Load {
  const ledger: Ledger = { jobs: new Map(), triggers: [], refused: [] };
  const underway = new Set<Promise<unknown>>();
  /** Jobs that an edit is under way for: what is acknowledged last must be what was asked last. */
  const busy = new Set<string>();
  let names = 0;
  let running: Promise<void> | undefined;
  let stopped = false;

  const http = (path: string) => ({ type: 'http', url: `${targetUrl}${path}`, method: 'POST' });
  /** Keeps a promise from being lost, and its refusal too. */
  const go = <T>(work: Promise<T>): Promise<T | undefined> => {
    const kept = work.catch((error: unknown) => {
      ledger.refused.push(error instanceof Error ? error.message : String(error));
      return undefined;
    });
    underway.add(kept);
    void kept.finally(() => underway.delete(kept));
    return kept;
  };

  async function create(kind: AcknowledgedJob['kind'], document: Document): Promise<void> {
    names += 1;
    const name = `${kind} ${names} ${JSON.stringify(document.schedule ?? {})} ${document.overlap ?? 'skip'}`;
    const { body } = await client.send('POST', '/api/v1/jobs', { name, timeout: '4s', retry: RETRY, ...document });
    ledger.jobs.set(String(body.id), {
      id: String(body.id),
      name,
      kind,
      dispatch: document.timeout === LONG ? null : String(document.dispatch ?? 'auto'),
      schedule: document.schedule as Document | undefined,
      overlap: String(document.overlap ?? 'skip'),
      deleted: false,
    });
  }

  async function trigger(job: AcknowledgedJob): Promise<void> {
    const key = randomUUID();
    const { body } = await client.send('POST', `/api/v1/schedule/${job.id}/trigger`, { input: { key } }, key);
    ledger.triggers.push({ execution: String(body.id ?? body.skippedId), job: job.id, key });
  }

  /** Several at once, so that they come in company. */
  async function triggerMany(job: AcknowledgedJob): Promise<void> {
    const keys = Array.from({ length: random.between(2, 8) }, () => randomUUID());
    const { body } = await client.send('POST', `/api/v1/schedule/${job.id}/trigger`, { inputs: keys.map((key) => ({ key })) });
    const items = body.items as { id: string }[];
    for (const [nth, key] of keys.entries()) ledger.triggers.push({ execution: String(items[nth]?.id), job: job.id, key });
  }

  /** Some jobs leave it to Almanac, some insist on one way or the other. */
  const anyDispatch = () => ({ dispatch: random.pick(['auto', 'dedicated', 'pooled', 'pooled']) });

  const jobsOf = (kind: AcknowledgedJob['kind']) => [...ledger.jobs.values()].filter((job) => job.kind === kind && !job.deleted);

  /** One edit of a job at a time. */
  async function alone(job: AcknowledgedJob, work: () => Promise<void>): Promise<void> {
    if (busy.has(job.id)) return;
    busy.add(job.id);
    try {
      await work();
    } finally {
      busy.delete(job.id);
    }
  }

  const edit = (job: AcknowledgedJob) =>
    alone(job, async () => {
      const schedule = { every: `${random.between(2, 7)}s` };
      await client.send('POST', `/api/v1/schedule/${job.id}`, schedule);
      job.schedule = schedule;
    });
  /** From a clock of its own to a shared one, or back. */
  const move = (job: AcknowledgedJob) =>
    alone(job, async () => {
      const { dispatch } = anyDispatch();
      await client.send('PATCH', `/api/v1/jobs/${job.id}`, { dispatch });
      job.dispatch = dispatch;
    });
  const pauseForAWhile = (job: AcknowledgedJob) =>
    alone(job, async () => {
      await client.send('POST', `/api/v1/schedule/${job.id}/pause`, { reason: 'chaos' });
      await sleep(random.between(500, 4_000));
      await client.send('POST', `/api/v1/schedule/${job.id}/resume`, {});
    });
  const remove = (job: AcknowledgedJob) =>
    alone(job, async () => {
      await client.send('DELETE', `/api/v1/jobs/${job.id}`).catch((error: Error) => {
        // the first try may have been done without being answered
        if (!error.message.includes(' 404 ')) throw error;
      });
      job.deleted = true;
    });

  /** A refusal is right when the time has passed before anybody could be asked; that nothing was made of it is checked in the end. */
  function once(): Promise<void> {
    const inS = random.between(1, 9);
    const schedule = random.chance(0.5) ? { delay: `${inS}s` } : { at: new Date(Date.now() + inS * 1_000).toISOString() };
    return create('once', { ...anyDispatch(), schedule, overlap: random.pick(['skip', 'buffer_all']), target: http('/quick') }).catch(
      (error: Error) => {
        if (!error.message.includes('in_the_past')) throw error;
      },
    );
  }
  const every = () =>
    create('clock', {
      ...anyDispatch(),
      schedule: { every: `${random.between(2, 6)}s` },
      overlap: random.pick(['skip', 'buffer_one', 'buffer_all', 'cancel_other', 'terminate_other', 'allow_all']),
      catchUp: { policy: random.pick(['none', 'last', 'all']) },
      target: http('/quick'),
    });

  function something(): Promise<void> {
    const clocks = jobsOf('clock');
    const demand = jobsOf('demand');
    const choice = random.between(1, 100);
    if (choice <= 48) return trigger(random.pick(demand));
    if (choice <= 58) return triggerMany(random.pick(demand));
    if (choice <= 78) return once();
    if (choice <= 84) return clocks.length < MOST_CLOCKS ? every() : remove(random.pick(clocks));
    if (choice <= 89) return edit(random.pick(clocks));
    if (choice <= 92) return move(random.pick(clocks.filter((job) => job.dispatch !== null)));
    if (choice <= 98) return pauseForAWhile(random.pick(clocks));
    return remove(random.pick(clocks));
  }

  async function loop(): Promise<void> {
    while (!stopped) {
      void go(something());
      await sleep(random.between(pauseMs / 2, pauseMs * 1.5));
    }
  }

  return {
    ledger,
    async setUp() {
      const clock = (document: Document) => create('clock', document);
      await Promise.all([
        clock({ schedule: { cron: '*/3 * * * * *' }, target: http('/quick') }),
        clock({ schedule: { cron: '*/2 * * * * *' }, overlap: 'allow_all', target: http('/quick') }),
        clock({
          schedule: { cron: ['1-59/6 * * * * *', '4-59/6 * * * * *'], timezone: 'Europe/Berlin', jitter: '2s' },
          target: http('/flaky'),
        }),
        clock({ schedule: { every: '4s' }, overlap: 'buffer_one', target: http('/slow') }),
        clock({ schedule: { every: '6s' }, overlap: 'buffer_all', catchUp: { policy: 'all' }, target: http('/slow') }),
        clock({ schedule: { every: '3s' }, overlap: 'cancel_other', target: http('/slow') }),
        clock({ schedule: { every: '4s', offset: '1s' }, overlap: 'terminate_other', target: http('/slow') }),
        clock({ schedule: { every: '5s' }, catchUp: { policy: 'none' }, target: http('/quick') }),
        ...(long ? [clock({ schedule: { every: '5s' }, overlap: 'allow_all', timeout: LONG, target: http('/long') })] : []),
        create('demand', { overlap: 'allow_all', target: http('/quick') }),
        create('demand', { overlap: 'allow_all', target: http('/slow'), timeout: '5s' }),
        create('demand', { overlap: 'allow_all', target: http('/flaky') }),
        create('demand', { overlap: 'skip', target: http('/quick') }),
        create('demand', { overlap: 'buffer_all', target: http('/flaky') }),
        clock({ schedule: { every: '3s', jitter: '2s' }, dispatch: 'pooled', overlap: 'allow_all', target: http('/quick') }),
        clock({ schedule: { every: '3s', jitter: '2s' }, dispatch: 'pooled', overlap: 'buffer_one', target: http('/slow') }),
        clock({
          schedule: { every: '5s' },
          dispatch: 'pooled',
          overlap: 'cancel_other',
          catchUp: { policy: 'all' },
          target: http('/flaky'),
        }),
        clock({ schedule: { every: '5s' }, dispatch: 'dedicated', target: http('/quick') }),
        create('demand', { dispatch: 'pooled', overlap: 'allow_all', target: http('/slow'), timeout: '5s' }),
        create('demand', { dispatch: 'pooled', overlap: 'allow_all', target: http('/flaky') }),
      ]);
    },
    begin() {
      running ??= loop();
    },
    burst(count) {
      const lasting = jobsOf('demand').filter((job) => job.overlap === 'allow_all');
      return Promise.all(Array.from({ length: count }, () => go(trigger(random.pick(lasting)))));
    },
    async quiesce() {
      stopped = true;
      await running;
      await Promise.all([...underway]);
      await Promise.all(jobsOf('clock').map((job) => go(client.send('POST', `/api/v1/schedule/${job.id}/pause`, { reason: 'the end' }))));
    },
  };
}
