/** Many jobs as real ones are: stored through the API, of all kinds, with the marks that running for a while leaves. */
import { hash } from 'node:crypto';
import type { HelperProcess } from '../load/helper-process.ts';
import type { HttpLoad, HttpLoadResult } from '../load/http-load.ts';
import type { Almanac } from '../stack/almanac.ts';
import { onlyStatus } from './row.ts';

const CATEGORIES = ['batch', 'reports', 'mail', 'sync', 'cleanup'];
const ENVIRONMENTS = ['prod', 'staging', 'test'];

/** Jobs that are due in some months only, so that none fires while something is measured. */
export function jobBody(index: number, prefix: string): object {
  // Real documents do not compress like one repeated.
  const fingerprint = hash('sha256', `${prefix}-${index}`);
  return {
    name: `${prefix}-${String(index).padStart(6, '0')}`,
    description: `Closes the books of branch ${index} (${fingerprint}) and sends the result to its owner`,
    category: CATEGORIES[index % CATEGORIES.length],
    priority: (index % 5) + 1,
    tags: { env: ENVIRONMENTS[index % ENVIRONMENTS.length]!, branch: String(index % 100) },
    input: { branch: index, currency: 'EUR', ledger: fingerprint, recipients: [`owner-${fingerprint.slice(0, 8)}@example.com`] },
    schedule: { cron: distantCron(index), timezone: 'Europe/Berlin' },
    target: { type: 'http', url: `https://branch-${index % 500}.example.com/close`, method: 'POST' },
  };
}

/** A cron of its own for each index below 10,000: once a year, five to seven months from now. */
export function distantCron(index: number, now = new Date()): string {
  const month = ((now.getUTCMonth() + 5 + (index % 2)) % 12) + 1;
  return `${index % 60} ${Math.floor(index / 60) % 24} ${(Math.floor(index / 1_440) % 28) + 1} ${month} *`;
}

/** Stores them without waiting for Temporal, which this row has no use for, and marks the rows as a controller would have. */
export async function storeJobs(almanac: Almanac, load: HelperProcess<HttpLoad, HttpLoadResult>, count: number): Promise<void> {
  const result = await load.ask({
    origin: almanac.origin,
    headers: { ...almanac.headers, prefer: 'respond-async' },
    requests: Array.from({ length: count }, (_, index) => ({
      method: 'POST',
      path: '/api/v1/jobs',
      body: JSON.stringify(jobBody(index, 'close-books')),
    })),
    connections: 8,
  });
  onlyStatus('storing jobs', result.statuses, 201, result.bodies);
  await almanac.pool.query('UPDATE clocks SET observed_generation = generation');
  await almanac.pool.query(
    `UPDATE job_runtime r
        SET last_outcome = CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'succeeded' END,
            last_execution = json_build_object('id', job_id || '-2026-05-01T00:00:00Z', 'status', CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'succeeded' END,
              'slot', '2026-05-01T00:00:00+00:00', 'startedAt', '2026-05-01T00:00:00.125+00:00', 'finishedAt', '2026-05-01T00:00:01.250+00:00', 'durationMs', 1125)
       FROM (SELECT job_id AS id, row_number() OVER (ORDER BY job_id) AS n FROM job_runtime) numbered
      WHERE numbered.id = r.job_id AND n % 4 > 0`,
  );
  await almanac.pool.query('VACUUM ANALYZE jobs');
  await almanac.pool.query('VACUUM ANALYZE job_runtime');
  await almanac.pool.query('VACUUM ANALYZE clocks');
}
