/** What the rig's jobs are in Almanac, and what has to be there before it may post them: the servers, and the one stored job that each `now` triggers. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PeerJob } from './peer-job.ts';

export type SettingOptions = {
  /** Where this very process listens. */
  origin: string;
  authorization: string;
  /** Whether "ready" waits for Temporal too. */
  hasTemporal: boolean;
  /** `dispatch` of the job that is triggered, and of those with a schedule. */
  dispatch: { triggers: string; schedules: string };
};
export type Setting = ReturnType<typeof createSetting>;

const AGAIN_MS = 50;
const TRIGGERED = 'peer-now';
const target = { type: 'handler', name: 'peer-job' };

export function createSetting({ origin, authorization, hasTemporal, dispatch }: SettingOptions) {
  let triggered: Promise<string> | undefined;

  const ask = (method: string, path: string, body?: object): Promise<Response> =>
    fetch(`${origin}${path}`, {
      method,
      headers: { authorization, 'content-type': 'application/json' },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });

  /** The one that an earlier process has stored is found by its name. */
  async function store(): Promise<string> {
    const job = { name: TRIGGERED, dispatch: dispatch.triggers, overlap: 'allow_all', target };
    const created = await ask('POST', '/api/v1/jobs', job);
    const found = created.status === 409 ? await ask('GET', `/api/v1/jobs/${TRIGGERED}`) : created;
    if (!found.ok) throw new Error(`${TRIGGERED}: ${found.status} ${await found.text()}`);
    return ((await found.json()) as { id: string }).id;
  }

  /** Id of the job that `now` triggers. */
  const triggeredJob = (): Promise<string> => {
    triggered ??= store();
    return triggered;
  };

  return {
    authorization,
    triggeredJob,

    /** A job that is due once, or again and again. */
    documentOf: (job: PeerJob) => ({
      name: job.key,
      dispatch: dispatch.schedules,
      schedule: job.kind === 'at' ? { at: new Date(job.at_ms).toISOString() } : { cron: job.cron, timezone: 'UTC' },
      target,
      input: job,
    }),

    /** Resolves when jobs can be posted. */
    ready: async (): Promise<void> => {
      for (;;) {
        const key = await ask('GET', '/api/v1/jobs?limit=1');
        if (key.ok && (!hasTemporal || (await ask('GET', '/health/ready')).ok)) break;
        await sleep(AGAIN_MS);
      }
      await triggeredJob();
    },
  };
}
