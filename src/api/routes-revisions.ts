/** Versions of a job: listed, read, compared, gone back to. */
import { z } from 'zod';
import { JobError } from '../jobs/errors.ts';
import { strictShape } from '../jobs/job-issues.ts';
import type { JobView } from '../jobs/job-view.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { Rollback } from '../jobs/revisions/rollback.ts';
import { parseActionBody } from './action-body.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { jobViewSchema, pageOf, revisionSchema } from './documents.ts';
import { etagOf, noneMatchHit } from './preconditions.ts';
import { pageQuery, wholeNumber } from './query.ts';
import { type Reply, reply } from './request.ts';
import { type RouteSpec, route } from './route.ts';

const patches = {
  patch: z
    .array(z.looseObject({ op: z.enum(['add', 'remove', 'replace', 'move', 'copy', 'test']), path: z.string() }))
    .meta({ description: 'JSON Patch (RFC 6902)' }),
  mergePatch: z.unknown().meta({ description: 'JSON Merge Patch (RFC 7396), as PATCH takes it; null where it cannot say this' }),
};
const diffSchema = z
  .object({ from: z.int().nullable().meta({ description: 'Null: compared with nothing' }), to: z.int(), ...patches })
  .meta({ id: 'JobRevisionDiff' });
const rollbackPlanSchema = z
  .object({
    dryRun: z.literal(true),
    from: z.int().meta({ description: 'The generation the job has' }),
    to: z.int().meta({ description: 'The one whose document it would have again' }),
    ...patches,
    job: jobViewSchema.meta({ description: 'The job as it would be' }),
  })
  .meta({ id: 'JobRollbackPlan' });
const nothingSchema = strictShape({}, 'nothing');

export function createRevisionRoutes({ jobs, rollback }: { jobs: Jobs; rollback: Rollback }): RouteSpec[] {
  const list = route({
    method: 'get',
    path: '/api/v1/jobs/:job/revisions',
    operationId: 'listJobRevisions',
    summary: 'Every version of a job, newest first',
    query: z.object(pageQuery),
    responses: { 200: { description: 'A page of revisions', schema: pageOf(revisionSchema) } },
    handle: async ({ caller, params, query: { cursor, limit } }) => {
      const job = params.job as string;
      const binding = cursorBinding('revisions', { job });
      const before = cursor === undefined ? null : decodeCursor(cursor, binding, isGeneration)[0];
      const { items, next } = await jobs.revisions(caller, job, { limit, before });
      return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next]) });
    },
  });
  const get = route({
    method: 'get',
    path: '/api/v1/jobs/:job/revisions/:generation',
    operationId: 'getJobRevision',
    summary: 'One version of a job',
    headers: ['If-None-Match'],
    responses: { 200: { description: 'The revision', schema: revisionSchema }, 304: { description: 'Revisions never change' } },
    handle: async ({ caller, params, header }) => {
      const revision = await jobs.revision(caller, params.job as string, generationOf(params));
      const headers = { ETag: etagOf(revision.generation) };
      return noneMatchHit(header('if-none-match'), headers.ETag) ? { status: 304, json: null, headers } : reply(200, revision, headers);
    },
  });
  const diff = route({
    method: 'get',
    path: '/api/v1/jobs/:job/revisions/:generation/diff',
    operationId: 'diffJobRevision',
    summary: 'What makes one version of another: the patches that turn `against` into it',
    query: z.object({ against: wholeNumber(1, 999_999_999).optional().meta({ description: 'Default: the version before it' }) }),
    responses: { 200: { description: 'Both patches', schema: diffSchema } },
    handle: async ({ caller, params, query }) =>
      reply(200, await jobs.difference(caller, params.job as string, generationOf(params), query.against)),
  });
  const shown = (job: JobView): Reply => reply(200, job, { ETag: etagOf(job.generation) });
  const back = route({
    method: 'post',
    path: '/api/v1/jobs/:job/revisions/:generation/rollback',
    operationId: 'rollBackJob',
    summary: 'Give a job the document of an older version, as its next generation',
    description:
      'The document goes the way of a PUT: what it names must be there, and what is not valid any more is refused. The pause of a job stays as it is. A deleted job is not brought back.',
    query: z.object({
      dryRun: z
        .enum(['true', 'false'], { error: 'must be true or false' })
        .default('false')
        .transform((text) => text === 'true')
        .meta({ type: 'boolean', default: false, description: 'Tries it, answers with what would change, and changes nothing' }),
    }),
    body: { schema: nothingSchema, required: false },
    headers: ['If-Match', 'Prefer'],
    responses: {
      200: { description: 'The job; with `dryRun` what would change', schema: z.union([jobViewSchema, rollbackPlanSchema]) },
    },
    problems: [409, 410, 412],
    handle: async ({ caller, params, query: { dryRun }, body, ifMatch, preferences, idempotency }) => {
      parseActionBody(nothingSchema, body, 'rollback');
      const options = { ifMatch, dryRun, respondAsync: preferences.respondAsync, idempotency: idempotency(shown) };
      const { value, from, to, diff: between } = await rollback(caller, params.job as string, generationOf(params), options);
      return dryRun ? reply(200, { dryRun, from, to, ...between, job: value }) : shown(value);
    },
  });
  return [list, get, diff, back];
}

/** @throws JobError `not_found` for what is no number of a generation. */
function generationOf(params: Record<string, string>): number {
  const generation = params.generation as string;
  if (/^[1-9]\d{0,14}$/.test(generation)) return Number(generation);
  throw new JobError(
    'not_found',
    'revision_not_found',
    `There is no revision ${JSON.stringify(generation.slice(0, 40))}; revisions are numbered from 1.`,
  );
}

const isGeneration = (values: unknown[]): values is [number] =>
  values.length === 1 && Number.isSafeInteger(values[0]) && (values[0] as number) > 0;
