/** Execution API: what happened, and what to do about it. */
import { z } from 'zod';
import { EXECUTION_STATUSES, EXECUTION_TRIGGERS, type ExecutionView } from '../jobs/execution-view.ts';
import type { Executions } from '../jobs/executions.ts';
import { strictShape } from '../jobs/job-issues.ts';
import { instantSchema } from '../jobs/time/instant.ts';
import { parseActionBody } from './action-body.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { executionDetailSchema, executionSchema, pageOf } from './documents.ts';
import { jobIdQuery, pageQuery, rangeOf, repeatable } from './query.ts';
import { type Call, type Reply, reply } from './request.ts';
import { type RouteSpec, type RoutesOfGroup, route } from './route.ts';

/** What lists of executions can be narrowed by. */
export const executionFilters = {
  status: repeatable(z.enum(EXECUTION_STATUSES)).optional(),
  trigger: repeatable(z.enum(EXECUTION_TRIGGERS)).optional(),
  queue: z.string().max(100).optional(),
  reason: z.string().max(100).optional().meta({ description: 'Why a slot was skipped, e.g. `paused`' }),
  operationId: z.string().max(200).optional().meta({ description: 'The backfill or bulk operation that asked for it' }),
  from: instantSchema.optional().meta({ description: 'Slot, or creation when there is no slot: from this time on' }),
  to: instantSchema.optional().meta({ description: 'Before this time' }),
};
const ofJobQuery = z.object({ ...pageQuery, ...executionFilters });
const searchQuery = z.object({
  ...pageQuery,
  ...executionFilters,
  jobId: jobIdQuery,
  q: z.string().max(200).optional().meta({ description: "Part of the job's name, in any case" }),
});

const definition = z
  .enum(['current', 'original'])
  .default('current')
  .meta({ description: '`original`: the definition that the execution ran with' });
const retryOneSchema = strictShape({ definition }, 'definition, optional').meta({ id: 'RetryExecution' });
const retrySchema = strictShape(
  {
    executionIds: z
      .array(z.string().max(200), { error: 'must be a list of execution ids' })
      .min(1, 'must name at least one execution')
      .max(100, 'names more than 100 executions; send several requests')
      .optional()
      .meta({ description: 'Default: the latest that ended without success' }),
    definition,
  },
  'executionIds and definition, both optional',
).meta({ id: 'RetryExecutions' });
const nothingSchema = strictShape({}, 'nothing');

export function createExecutionRoutes({ executions, publicUrl }: { executions: Executions; publicUrl: string }): RoutesOfGroup {
  const accepted = (execution: ExecutionView): Reply => reply(202, execution, { Location: `${publicUrl}${execution.links.self}` });
  const acceptedAll = (items: ExecutionView[]): Reply => reply(202, { items });
  const ACCEPTED = { 202: { description: 'Accepted', schema: executionSchema, headers: { Location: 'Address of the execution' } } };
  const one = ({ params }: Pick<Call, 'params'>) => [params.job as string, params.execution as string] as const;

  return {
    group: 'executions',
    tag: 'Executions',
    routes: [
      ...lookRoutes(executions),
      route({
        method: 'post',
        path: '/api/v1/executions/:job/retry',
        operationId: 'retryExecutions',
        summary: 'Run again what ended without success: the latest, or the named ones',
        body: { schema: retrySchema, required: false },
        responses: {
          202: {
            description: 'The new execution; `{ items }` when executions were named',
            schema: z.union([executionSchema, z.object({ items: z.array(executionSchema) })]),
          },
        },
        problems: [409],
        handle: async ({ caller, params, body, idempotency }) => {
          const asked = parseActionBody(retrySchema, body, 'retry');
          const context = asked.executionIds ? idempotency(acceptedAll) : idempotency(accepted);
          const retried = await executions.retry(caller, params.job as string, asked, context);
          return asked.executionIds ? acceptedAll(retried) : accepted(retried[0] as ExecutionView);
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/executions/:job/:execution/retry',
        operationId: 'retryExecution',
        summary: 'Run one again',
        body: { schema: retryOneSchema, required: false },
        responses: ACCEPTED,
        problems: [409],
        handle: async (call) => {
          const asked = parseActionBody(retryOneSchema, call.body, 'retry');
          return accepted(await executions.retryOne(call.caller, ...one(call), asked.definition, call.idempotency(accepted)));
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/executions/:job/:execution/cancel',
        operationId: 'cancelExecution',
        summary: 'Ask it to stop; its call is aborted within a second',
        body: { schema: nothingSchema, required: false },
        responses: ACCEPTED,
        problems: [409],
        handle: async (call) => {
          parseActionBody(nothingSchema, call.body, 'cancel');
          return accepted(await executions.cancel(call.caller, ...one(call)));
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/executions/:job/:execution/terminate',
        operationId: 'terminateExecution',
        summary: 'End it at once; whatever its call still brings is dropped',
        body: { schema: nothingSchema, required: false },
        responses: { 200: { description: 'Terminated', schema: executionSchema } },
        problems: [409],
        handle: async (call) => {
          parseActionBody(nothingSchema, call.body, 'terminate');
          return reply(200, await executions.terminate(call.caller, ...one(call)));
        },
      }),
    ],
  };
}

function lookRoutes(executions: Executions): RouteSpec[] {
  return [
    route({
      method: 'get',
      path: '/api/v1/executions',
      operationId: 'searchExecutions',
      summary: 'Executions of all jobs, newest first',
      query: searchQuery,
      responses: { 200: { description: 'A page of executions', schema: pageOf(executionSchema) } },
      handle: async ({ caller, query: { cursor, limit, ...query } }) => {
        const { after, nextCursor } = pageBy('executions', query, cursor);
        const { items, next } = await executions.search(caller, { ...query, ...rangeOf(query), limit, after });
        return reply(200, { items, nextCursor: nextCursor(next) });
      },
    }),
    route({
      method: 'get',
      path: '/api/v1/executions/:job',
      operationId: 'listJobExecutions',
      summary: "One job's executions, newest first",
      query: ofJobQuery,
      responses: { 200: { description: 'A page of executions', schema: pageOf(executionSchema) } },
      handle: async ({ caller, params, query: { cursor, limit, ...query } }) => {
        const job = params.job as string;
        const { after, nextCursor } = pageBy('executions of a job', { ...query, job }, cursor);
        const { items, next } = await executions.ofJob(caller, job, { ...query, ...rangeOf(query), limit, after });
        return reply(200, { items, nextCursor: nextCursor(next) });
      },
    }),
    route({
      method: 'get',
      path: '/api/v1/executions/:job/:execution',
      operationId: 'getExecution',
      summary: 'One execution with its attempts and what Temporal says of it now',
      responses: { 200: { description: 'The execution', schema: executionDetailSchema } },
      handle: async ({ caller, params }) => reply(200, await executions.get(caller, params.job as string, params.execution as string)),
    }),
  ];
}

type Key = { at: string; id: string };

/** Where the page begins, and how the next one is named. */
function pageBy(list: string, query: Record<string, unknown>, cursor: string | undefined) {
  const binding = cursorBinding(list, query);
  const values = cursor === undefined ? undefined : decodeCursor(cursor, binding, isExecutionKey);
  return {
    after: values && { at: values[0], id: values[1] },
    nextCursor: (next: Key | null) => (next === null ? null : encodeCursor(binding, [next.at, next.id])),
  };
}

const isExecutionKey = (values: unknown[]): values is [string, string] =>
  values.length === 2 &&
  typeof values[1] === 'string' &&
  typeof values[0] === 'string' &&
  /^\d{4}-\d\d-\d\dT[\d:.]{8,15}Z$/.test(values[0]);
