/** Many jobs in one request: all of them or none, or each by itself. */
import { z } from 'zod';
import type { Batch } from '../jobs/job-batch.ts';
import { jobDocumentSchema } from '../jobs/job-document.ts';
import { choice, strictShape } from '../jobs/job-issues.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { parseActionBody } from './action-body.ts';
import { type Reply, reply } from './request.ts';
import { type RouteSpec, route } from './route.ts';

const PATH = '/api/v1/jobs/batch';
const MOST_JOBS = 1_000;

const batchShape = <Item extends z.ZodType>(item: Item) => ({
  jobs: z
    .array(item, {
      error: (issue) => (issue.input === undefined ? 'jobs is required: a list of job documents' : 'must be a list of job documents'),
    })
    .min(1, 'must have at least one job')
    .max(MOST_JOBS, `has more than ${MOST_JOBS} jobs; send several requests`),
  mode: choice(['all', 'each'])
    .default('all')
    .meta({ description: '`all`: all jobs or none; `each`: those that can be created, and what is wrong with the others' }),
});
/** Documents are read one by one, so that each has its own answer. */
const batchBody = strictShape(batchShape(z.unknown()), 'jobs, and mode');
const batchSchema = strictShape(batchShape(jobDocumentSchema), 'jobs, and mode').meta({ id: 'JobBatch' });

const createdItem = z.object({
  index: z.int().meta({ description: 'Place in `jobs`, from 0' }),
  status: z.literal(201),
  id: z.string(),
  name: z.string(),
  sync: z.enum(['synced', 'pending']).meta({ description: '`pending`: committed, and not yet known to be in Temporal' }),
  dispatchChoice: z.object({ dispatch: z.enum(['dedicated', 'pooled']), reason: z.string() }),
});
const refusedItem = z.object({
  index: z.int(),
  status: z.union([z.literal(409), z.literal(422)]).meta({ description: '409: the name is taken; 422: not valid' }),
  code: z.string(),
  detail: z.string(),
  errors: z.array(z.object({ path: z.string(), message: z.string(), code: z.string() })),
  existingId: z.string().optional().meta({ description: 'Of the job that has the name' }),
});
const batchResultSchema = z
  .object({
    created: z.int(),
    refused: z.int(),
    items: z.array(z.union([createdItem, refusedItem])).meta({ description: 'In the order of `jobs`; whole jobs are read with GET' }),
  })
  .meta({ id: 'JobBatchResult' });

/**
 * @param deps.jobCreated called once for each job that a request has created.
 * @param deps.ofOne routes of one job; a job named like this path is reached by them all the same.
 */
export function createBatchRoutes({
  jobs,
  jobCreated,
  ofOne,
}: {
  jobs: Jobs;
  jobCreated: () => void;
  ofOne: readonly RouteSpec[];
}): RouteSpec[] {
  const answer = (batch: Batch): Reply => reply(batch.refused === 0 ? 201 : 207, batch);
  const create = route({
    method: 'post',
    path: PATH,
    operationId: 'createJobs',
    summary: `Create up to ${MOST_JOBS} jobs`,
    description:
      'With `mode: all` a document that is not valid or a name that is taken refuses the whole batch, with `errors[].path` such as `/jobs/17/target/url`, and nothing is written.',
    body: {
      schema: batchSchema,
      required: true,
      example: {
        jobs: ['eu', 'us'].map((region) => ({
          name: `close-books-${region}`,
          schedule: { cron: '0 2 * * *' },
          input: { region },
          target: { type: 'http', url: 'https://example.com/close' },
        })),
      },
    },
    bodyLimit: 'batch',
    headers: ['Prefer'],
    responses: {
      201: { description: 'All created', schema: batchResultSchema },
      207: { description: '`mode: each`: some or all were refused; each item says so', schema: batchResultSchema },
    },
    problems: [409],
    handle: async ({ caller, body, preferences, idempotency }) => {
      const asked = parseActionBody(batchBody, body, 'batch');
      const options = { respondAsync: preferences.respondAsync, idempotency: idempotency(answer) };
      const batch = await jobs.createMany(caller, asked.jobs, asked.mode, options);
      for (let count = 0; count < batch.created; count++) jobCreated();
      return answer(batch);
    },
  });
  const named = ofOne.map(
    (spec): RouteSpec => ({ ...spec, path: PATH, alias: true, handle: (call) => spec.handle({ ...call, params: { job: 'batch' } }) }),
  );
  return [create, ...named];
}
