/** What bulk operations and backfills have in common: looking at them, their items, and ending them. */
import { z } from 'zod';
import { strictShape } from '../jobs/job-issues.ts';
import { BULK_ACTIONS, ITEM_RESULTS, OPERATION_STATES, type OperationKind } from '../jobs/operations/operation-store.ts';
import type { OperationFamily, Operations } from '../jobs/operations/operations.ts';
import { parseActionBody } from './action-body.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { pageOf } from './documents.ts';
import { pageQuery, repeatable } from './query.ts';
import { reply } from './request.ts';
import { type RouteSpec, route } from './route.ts';

const time = z.iso.datetime();
export const operationSchema = z
  .object({
    id: z.string(),
    kind: z.enum(['backfill', ...BULK_ACTIONS]),
    state: z.enum(OPERATION_STATES),
    jobId: z.string().nullable().meta({ description: 'Of a backfill of one job' }),
    origin: z.string().nullable().meta({ description: 'Of a backfill of many jobs: the freeze, or the bulk resume, whose catch-up it is' }),
    selection: z.unknown().meta({ description: 'What was selected' }),
    options: z.unknown().meta({ description: 'How each item is treated' }),
    reason: z.string().nullable(),
    ratePerMinute: z.int().nullable(),
    waitingFor: z.enum(['overlap', 'paused', 'frozen']).nullable().meta({ description: 'Why it does not go on just now' }),
    progress: z.object({
      total: z.int(),
      done: z.int(),
      pending: z.int(),
      results: z.partialRecord(z.enum(ITEM_RESULTS), z.int()).meta({ description: 'Items by result' }),
    }),
    executions: z.record(z.string(), z.int()).optional().meta({ description: 'Executions it has made, by their status now; not in lists' }),
    requestedBy: z.string(),
    createdAt: time,
    startedAt: time.nullable(),
    finishedAt: time.nullable(),
    abortedBy: z.string().nullable(),
    links: z.object({ self: z.string(), items: z.string() }),
  })
  .meta({ id: 'Operation' });

const itemSchema = z
  .object({
    position: z.int(),
    jobId: z.string(),
    executionId: z.string().nullable().meta({ description: 'The execution that is retried, cancelled or terminated' }),
    slot: time.nullable().meta({ description: 'The slot that is backfilled' }),
    result: z.enum(ITEM_RESULTS),
    made: z.string().nullable().meta({ description: 'The execution, or the backfill, that came of it' }),
    code: z.string().nullable(),
    message: z.string().nullable(),
    doneAt: time.nullable(),
  })
  .meta({ id: 'OperationItem' });

const itemsQuery = z.object({ ...pageQuery, result: repeatable(z.enum(ITEM_RESULTS)).optional() });
const nothing = strictShape({}, 'nothing');

type Names = { family: OperationFamily; path: string; one: string; many: string };

/** The four routes of a family; the list takes `kind` where there are several. */
export function lookRoutes(operations: Operations, { family, path, one, many }: Names): RouteSpec[] {
  const Family = family === 'backfills' ? 'Backfill' : 'BulkOperation';
  const query = z.object({
    ...pageQuery,
    ...(family === 'bulk' ? { kind: repeatable(z.enum(BULK_ACTIONS)).optional() } : {}),
    state: repeatable(z.enum(OPERATION_STATES)).optional(),
    job: z.string().max(200).optional().meta({ description: 'Id or name of a job that is among its items' }),
  });
  return [
    route({
      method: 'get',
      path,
      operationId: `list${Family}s`,
      summary: `${many}, newest first`,
      query,
      responses: { 200: { description: 'A page', schema: pageOf(operationSchema) } },
      problems: [404],
      handle: async ({ caller, query: { cursor, limit, ...filter } }) => {
        const binding = cursorBinding(family, filter);
        const values = cursor === undefined ? undefined : decodeCursor(cursor, binding, isOperationKey);
        const after = values && { at: values[0], id: values[1] };
        const kinds = 'kind' in filter ? (filter.kind as OperationKind[] | undefined) : undefined;
        const { items, next } = await operations.list(caller, family, { kinds, state: filter.state, job: filter.job, limit, after });
        return reply(200, { items, nextCursor: next && encodeCursor(binding, [next.at, next.id]) });
      },
    }),
    route({
      method: 'get',
      path: `${path}/:operation`,
      operationId: `get${Family}`,
      summary: `One ${one} with its progress`,
      responses: { 200: { description: 'The operation', schema: operationSchema } },
      handle: async ({ caller, params }) => reply(200, await operations.get(caller, family, params.operation as string)),
    }),
    route({
      method: 'get',
      path: `${path}/:operation/items`,
      operationId: `list${Family}Items`,
      summary: 'What became of each item, in the order of work',
      query: itemsQuery,
      responses: { 200: { description: 'A page of items', schema: pageOf(itemSchema) } },
      handle: async ({ caller, params, query: { cursor, limit, result } }) => {
        const id = params.operation as string;
        const binding = cursorBinding('items', { id, result });
        const after = cursor === undefined ? undefined : decodeCursor(cursor, binding, isPosition)[0];
        const { items, next } = await operations.items(caller, family, id, { result, limit, after });
        return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next]) });
      },
    }),
    route({
      method: 'post',
      path: `${path}/:operation/abort`,
      operationId: `abort${Family}`,
      summary: 'End what has not had its turn; what it has made goes on. Aborting what has ended changes nothing',
      body: { schema: nothing, required: false },
      responses: { 200: { description: 'The operation', schema: operationSchema } },
      handle: async ({ caller, params, body }) => {
        parseActionBody(nothing, body, 'abort');
        return reply(200, await operations.abort(caller, family, params.operation as string));
      },
    }),
  ];
}

const isPosition = (values: unknown[]): values is [number] =>
  values.length === 1 && Number.isInteger(values[0]) && (values[0] as number) >= 0 && (values[0] as number) < 2 ** 31;

/** The time as Postgres writes it, to the microsecond. */
const isOperationKey = (values: unknown[]): values is [string, string] =>
  values.length === 2 &&
  typeof values[1] === 'string' &&
  typeof values[0] === 'string' &&
  /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d)?$/.test(values[0]);
