/** Job API: definitions, their revisions, and the bare aliases `/jobs`. */
import { z } from 'zod';
import { TERMINAL_STATUSES } from '../jobs/execution-view.ts';
import { jobDocumentSchema } from '../jobs/job-document.ts';
import type { JobView } from '../jobs/job-view.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { type CursorKey, JOB_SORTS, type JobSort } from '../jobs/jobs-list.ts';
import type { Rollback } from '../jobs/revisions/rollback.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { JOB_STATES, jobViewSchema, pageOf } from './documents.ts';
import { etagOf, refuseCreateOnly } from './preconditions.ts';
import { pageQuery, repeatable, wholeNumber } from './query.ts';
import { type Reply, reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';
import { createBatchRoutes } from './routes-batch.ts';
import { createRevisionRoutes } from './routes-revisions.ts';

const text = z.string().max(200);
/** What the list of jobs can be narrowed by. */
export const jobFilters = {
  state: z.enum(JOB_STATES).optional(),
  team: text.optional(),
  service: text.optional(),
  category: text.optional(),
  priority: wholeNumber(1, 5).optional(),
  tag: repeatable(z.string().max(300)).optional().meta({ description: '`name` or `name:value`; all must hold' }),
  createdBy: text.optional(),
  lastOutcome: z.enum(TERMINAL_STATUSES).optional(),
  q: text.optional().meta({ description: 'Part of the name, in any case' }),
};
const listQuery = z.object({ ...pageQuery, ...jobFilters, sort: z.enum(JOB_SORTS).default('-createdAt') });

const EXAMPLE = {
  name: 'nightly-invoices',
  schedule: { cron: '0 2 * * 1-5', timezone: 'Europe/Berlin' },
  target: { type: 'http', url: 'https://example.com/close' },
};

/** @param deps.jobCreated called once for each job that a request has created. */
export function createJobRoutes(deps: { jobs: Jobs; rollback: Rollback; publicUrl: string; jobCreated: () => void }): RoutesOfGroup {
  const { jobs, rollback, publicUrl, jobCreated } = deps;
  const shown = (status: number, job: JobView): Reply => reply(status, job, { ETag: etagOf(job.generation) });
  const created = (job: JobView): Reply =>
    reply(201, job, { Location: `${publicUrl}/api/v1/jobs/${job.id}`, ETag: etagOf(job.generation) });

  const list = route({
    method: 'get',
    path: '/api/v1/jobs',
    operationId: 'listJobs',
    summary: 'Jobs, filtered and sorted',
    query: listQuery,
    responses: { 200: { description: 'A page of jobs', schema: pageOf(jobViewSchema) } },
    handle: async ({ caller, query: { cursor, ...query } }) => {
      const binding = cursor === undefined ? undefined : cursorBinding('jobs', query);
      const after = cursor === undefined ? undefined : keyOf(decodeCursor(cursor, binding as string, isJobKey(query.sort)));
      const { itemsJson, next } = await jobs.list(caller, { ...query, after });
      const nextCursor = next === null ? 'null' : `"${encodeCursor(binding ?? cursorBinding('jobs', query), [next.value, next.id])}"`;
      return { status: 200, json: `{"items":[${itemsJson.join(',')}],"nextCursor":${nextCursor}}` };
    },
  });
  const create = route({
    method: 'post',
    path: '/api/v1/jobs',
    operationId: 'createJob',
    summary: 'Create a job',
    body: { schema: jobDocumentSchema, required: true, example: EXAMPLE },
    headers: ['Prefer'],
    responses: {
      201: { description: 'Created', schema: jobViewSchema, headers: { Location: 'Address of the job', ETag: 'Its generation' } },
    },
    problems: [409],
    handle: async ({ caller, body, preferences, idempotency }) => {
      const { value } = await jobs.create(caller, body, { respondAsync: preferences.respondAsync, idempotency: idempotency(created) });
      jobCreated();
      return created(value);
    },
  });
  const get = route({
    method: 'get',
    path: '/api/v1/jobs/:job',
    operationId: 'getJob',
    summary: 'One job',
    responses: { 200: { description: 'The job', schema: jobViewSchema, headers: { ETag: 'Its generation, for If-Match' } } },
    handle: async ({ caller, params }) => shown(200, await jobs.get(caller, params.job as string)),
  });
  const put = route({
    method: 'put',
    path: '/api/v1/jobs/:job',
    operationId: 'putJob',
    summary: 'Replace a job; by name also create it',
    body: { schema: jobDocumentSchema, required: true, example: EXAMPLE },
    headers: ['If-Match', 'Prefer'],
    responses: { 200: { description: 'Replaced', schema: jobViewSchema }, 201: { description: 'Created', schema: jobViewSchema } },
    problems: [409, 412],
    handle: async ({ caller, params, body, ifMatch, preferences, header }) => {
      refuseCreateOnly(header('if-none-match'));
      const written = await jobs.upsert(caller, params.job as string, body, { ifMatch, respondAsync: preferences.respondAsync });
      if (!written.created) return shown(200, written.value);
      jobCreated();
      return created(written.value);
    },
  });
  const patch = route({
    method: 'patch',
    path: '/api/v1/jobs/:job',
    operationId: 'patchJob',
    summary: 'Change parts of a job (JSON Merge Patch, RFC 7396)',
    body: {
      schema: z.looseObject({}),
      required: true,
      type: 'application/merge-patch+json',
      example: { schedule: { cron: '30 2 * * *' } },
    },
    headers: ['If-Match', 'Prefer'],
    responses: { 200: { description: 'Changed', schema: jobViewSchema } },
    problems: [409, 412],
    handle: async ({ caller, params, body, ifMatch, preferences }) => {
      const { value } = await jobs.patch(caller, params.job as string, body, { ifMatch, respondAsync: preferences.respondAsync });
      return shown(200, value);
    },
  });
  const remove = route({
    method: 'delete',
    path: '/api/v1/jobs/:job',
    operationId: 'deleteJob',
    summary: 'Delete a job; its executions stay readable',
    query: z.object({ running: z.enum(['cancel']).optional().meta({ description: '`cancel`: end what runs; default: let it finish' }) }),
    headers: ['If-Match', 'Prefer'],
    responses: { 200: { description: 'Deleted; `sync` says whether Temporal knows', schema: jobViewSchema } },
    problems: [412],
    handle: async ({ caller, params, query, ifMatch, preferences }) => {
      const options = { ifMatch, running: query.running, respondAsync: preferences.respondAsync };
      return reply(200, (await jobs.remove(caller, params.job as string, options)).value);
    },
  });

  return {
    group: 'jobs',
    tag: 'Jobs',
    routes: [
      list,
      create,
      get,
      put,
      patch,
      remove,
      ...createBatchRoutes({ jobs, jobCreated, ofOne: [get, put, patch, remove] }),
      ...createRevisionRoutes({ jobs, rollback }),
      { ...list, path: '/jobs', alias: true },
      { ...create, path: '/jobs', alias: true },
      { ...get, path: '/jobs/:job', alias: true },
    ],
  };
}

/** As Postgres writes a timestamptz, or RFC 3339. */
const TIME = /^\d{4,6}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d(:\d\d){0,2})$/;

const isJobKey =
  (sort: JobSort) =>
  (values: unknown[]): values is [string | null, string] => {
    const [value, id] = values;
    if (values.length !== 2 || typeof id !== 'string') return false;
    if (sort.endsWith('name')) return typeof value === 'string';
    return (value === null && sort.endsWith('nextRunAt')) || (typeof value === 'string' && TIME.test(value));
  };
const keyOf = ([value, id]: readonly [string | null, string]): CursorKey => ({ value, id });
