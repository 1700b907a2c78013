/** Channels, rules and deliveries on a database of their own, with a way out to this machine. Loops are single steps here: nothing waits for a clock. */

import { createAddressRules, literalAddressProblem } from '../../../src/activities/targets/address-rules.ts';
import { headerProblems } from '../../../src/activities/targets/http-request-headers.ts';
import { createWaysOut } from '../../../src/activities/targets/ways-out.ts';
import { newJobId } from '../../../src/jobs/ids.ts';
import { type Channels, createChannels } from '../../../src/jobs/notifications/channels.ts';
import { createDeliver, type DeliveryOutcome, GIVE_UP_MS } from '../../../src/jobs/notifications/deliver.ts';
import { createDeliveries, type Deliveries } from '../../../src/jobs/notifications/deliveries.ts';
import { deliveriesClaim } from '../../../src/jobs/notifications/delivery-store.ts';
import { createJobMutes, type JobMutes } from '../../../src/jobs/notifications/job-mutes.ts';
import { createSender } from '../../../src/jobs/notifications/sender.ts';
import { takeEvents } from '../../../src/jobs/notifications/take-events.ts';
import { createTeamNotify, type TeamNotify } from '../../../src/jobs/notifications/team-rules.ts';
import { createLog } from '../../../src/log.ts';
import type { Pool } from '../../../src/postgres.ts';
import { ASYNC, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest } from '../jobs-under-test.ts';

export const PUBLIC_URL = 'https://almanac.example';
export const silent = createLog('test', 'silent');

export type Notifications = JobsUnderTest & {
  channels: Channels;
  teamNotify: TeamNotify;
  jobMutes: JobMutes;
  deliveries: Deliveries;
  /** Outcomes so far, as `<type> <outcome>`. */
  told: string[];
  /** Makes a job; answers its id. */
  job: (name: string, document?: object) => Promise<string>;
  raise: (jobId: string, kind: string, details?: object, executionId?: string) => Promise<void>;
  /** Takes all events, then claims and sends what is due. `ahead`: as if so much time had gone by first. */
  step: (ahead?: string) => Promise<DeliveryOutcome[]>;
};

export async function notificationsUnderTest({ smtpUrl = '', from = '' } = {}): Promise<Notifications> {
  const it = await jobsUnderTest();
  const rules = { allow: ['127.0.0.0/8'], deny: ['127.0.0.1:1'] };
  const waysOut = createWaysOut(rules);
  const addressRules = createAddressRules(rules);
  const told: string[] = [];
  const deliver = createDeliver({
    pool: it.pool,
    log: silent,
    send: createSender({ waysOut, mail: { smtpUrl, from }, publicUrl: PUBLIC_URL }),
    tell: (type, outcome) => told.push(`${type} ${outcome}`),
  });
  return {
    ...it,
    channels: createChannels({
      pool: it.pool,
      targetRules: { urlProblem: (url) => literalAddressProblem(url, addressRules), headerProblems },
      mail: { hasServer: smtpUrl !== '', hasSender: from !== '' },
    }),
    teamNotify: createTeamNotify({ pool: it.pool }),
    jobMutes: createJobMutes({ pool: it.pool }),
    deliveries: createDeliveries({ pool: it.pool, deliver }),
    told,
    job: async (name, document = {}) => (await it.jobs.create(CALLER, { name, target: HTTP_TARGET, ...document }, ASYNC)).value.id,
    raise: async (jobId, kind, details, executionId) => {
      await it.pool.query('SELECT raise_event($1, $2, $3, $4, NULL, $5)', [
        CALLER.team,
        jobId,
        kind,
        executionId ?? null,
        details ? JSON.stringify(details) : null,
      ]);
    },
    step: async (ahead = '1 minute') => {
      while ((await takeEvents(it.pool, silent)) > 0);
      await letTimePass(it.pool, ahead);
      const claimed = await deliveriesClaim(it.pool, { limit: 100, perChannel: 100, busy: [], leaseMs: 120_000, giveUpMs: GIVE_UP_MS });
      return Promise.all(claimed.map((delivery) => deliver(delivery, new AbortController().signal)));
    },
    close: async () => {
      await waysOut.close();
      await it.close();
    },
  };
}

/** What is due within this time is due now; leases go on. */
export async function letTimePass(pool: Pool, time: string): Promise<void> {
  await pool.query(
    `UPDATE deliveries SET due_at = due_at - $1::interval WHERE state IN ('gathering', 'waiting') AND coalesce(reason, '') <> 'quiet_hours'`,
    [time],
  );
}

/** Jobs by the hundred, with nothing but what events and rules need. */
export async function seedJobs(pool: Pool, prefix: string, count: number, document: object = {}): Promise<string[]> {
  const ids = Array.from({ length: count }, newJobId);
  await pool.query(
    `INSERT INTO jobs (id, team, name, priority, state, generation, document, created_by, created_at, updated_at, category, tags)
     SELECT j.id, 'default', $2 || '-' || lpad(j.nth::text, 5, '0'), 3, 'on_demand', 1, $3, 'test', now(), now(), NULL, '{}'
       FROM unnest($1::text[]) WITH ORDINALITY AS j (id, nth)`,
    [ids, prefix, JSON.stringify({ target: HTTP_TARGET, ...document })],
  );
  return ids;
}
