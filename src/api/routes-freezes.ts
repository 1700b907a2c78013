/** Freezes: windows in which nothing in their scope starts, planned or at once, without touching any job's own pause. */
import { z } from 'zod';
import { FREEZE_SCOPES, FREEZE_STATES, type FreezeView, freezePatchSchema, freezeSchema } from '../jobs/freezes/freeze-document.ts';
import type { FreezePlan, Freezes } from '../jobs/freezes/freezes.ts';
import { choice, strictShape } from '../jobs/job-issues.ts';
import { parseActionBody } from './action-body.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { pageOf } from './documents.ts';
import { etagOf } from './preconditions.ts';
import { pageQuery, repeatable } from './query.ts';
import { type Reply, reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';

const time = z.iso.datetime();
const freezeViewSchema = z
  .object({
    id: z.string(),
    team: z.string(),
    scope: z.enum(FREEZE_SCOPES),
    targets: z.array(z.string()),
    reason: z.string(),
    from: time,
    to: time.nullable(),
    drain: z.boolean(),
    cancelRunning: z.boolean(),
    state: z.enum(FREEZE_STATES).meta({ description: '`draining`: in force, and something that began before still runs' }),
    version: z.int(),
    createdBy: z.string(),
    createdAt: time,
    updatedAt: time,
    endedAt: time.nullable(),
    endedBy: z.string().nullable().meta({ description: 'Null: it ended by itself, or goes on' }),
    drainedAt: time.nullable().meta({ description: 'Of those that drain or cancel: when nothing of what it covers ran any more' }),
    settledAt: time.nullable().meta({ description: 'When its slots were counted and what becomes of them was arranged' }),
  })
  .meta({ id: 'Freeze' });
const freezeDetailSchema = z
  .object({
    ...freezeViewSchema.shape,
    counts: z.object({
      jobs: z.int().meta({ description: 'Jobs that it covers, by what they are now' }),
      running: z.int().meta({ description: 'Executions of them that are under way' }),
      cancelled: z.int().meta({ description: 'Executions that it has asked to stop' }),
      slots: z
        .object({
          count: z.int(),
          jobs: z.int(),
          exact: z.boolean().meta({ description: 'False: at least `count`; counted whole when it is over' }),
        })
        .meta({ description: 'Slots that it has swallowed so far, and of how many jobs' }),
    }),
  })
  .meta({ id: 'FreezeDetail' });
const freezePlanSchema = z
  .object({
    dryRun: z.literal(true),
    scope: z.enum(FREEZE_SCOPES),
    targets: z.array(z.string()),
    from: time,
    to: time.nullable(),
    jobs: z.object({ count: z.int(), sample: z.array(z.object({ id: z.string(), name: z.string() })) }),
    running: z.int(),
  })
  .meta({ id: 'FreezePlan', description: 'What a freeze would hold' });

const listQuery = z.object({
  ...pageQuery,
  state: repeatable(choice(FREEZE_STATES)).optional().meta({ description: '`active` finds all that are in force, those that drain too' }),
  scope: choice(FREEZE_SCOPES).optional(),
  job: z.string().max(200).optional().meta({ description: 'Id or name of a job: those that cover it, by what it is now' }),
});
const nothingSchema = strictShape({}, 'nothing');
const EXAMPLE = {
  scope: 'tag',
  targets: ['env:prod'],
  reason: 'database upgrade',
  from: '2026-12-24T18:00:00Z',
  to: '2026-12-27T06:00:00Z',
};

export function createFreezeRoutes({ freezes, publicUrl }: { freezes: Freezes; publicUrl: string }): RoutesOfGroup {
  const shown = (freeze: FreezeView): Reply => reply(200, freeze, { ETag: etagOf(freeze.version) });
  const created = (made: FreezeView | FreezePlan): Reply =>
    'dryRun' in made
      ? reply(200, made)
      : reply(201, made, { Location: `${publicUrl}/api/v1/freezes/${made.id}`, ETag: etagOf(made.version) });

  return {
    group: 'schedule',
    tag: 'Freezes',
    routes: [
      route({
        method: 'get',
        path: '/api/v1/freezes',
        operationId: 'listFreezes',
        summary: 'Freezes, those that begin last first',
        query: listQuery,
        responses: { 200: { description: 'A page of freezes', schema: pageOf(freezeViewSchema) } },
        problems: [404],
        handle: async ({ caller, query: { cursor, limit, ...query } }) => {
          const binding = cursorBinding('freezes', query);
          const values = cursor === undefined ? undefined : decodeCursor(cursor, binding, isFreezeKey);
          const after = values && { from: values[0], id: values[1] };
          const { items, next } = await freezes.list(caller, { ...query, limit, after });
          return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next.from, next.id]) });
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/freezes',
        operationId: 'createFreeze',
        summary: 'Let nothing start, now or later',
        description:
          'Holds slots, triggers, retries and backfills of all jobs in its scope; what became of their slots is told by `frozen` stretches, and when it is over by each job’s catch-up policy.',
        body: { schema: freezeSchema, required: true, example: EXAMPLE },
        responses: {
          201: {
            description: 'Made; in force for everyone, if it begins now',
            schema: freezeViewSchema,
            headers: { Location: 'Address of the freeze' },
          },
          200: { description: 'With `dryRun`: what it would hold', schema: freezePlanSchema },
        },
        handle: async ({ caller, body, idempotency }) => created(await freezes.create(caller, body, idempotency(created))),
      }),
      route({
        method: 'get',
        path: '/api/v1/freezes/:freeze',
        operationId: 'getFreeze',
        summary: 'One freeze, with what it holds',
        responses: { 200: { description: 'The freeze', schema: freezeDetailSchema } },
        handle: async ({ caller, params }) => shown(await freezes.get(caller, params.freeze as string)),
      }),
      route({
        method: 'patch',
        path: '/api/v1/freezes/:freeze',
        operationId: 'patchFreeze',
        summary: 'Give a freeze another reason or end (JSON Merge Patch, RFC 7396)',
        body: { schema: freezePatchSchema, required: true, type: 'application/merge-patch+json', example: { to: null } },
        headers: ['If-Match'],
        responses: { 200: { description: 'Changed', schema: freezeViewSchema } },
        problems: [409, 412],
        handle: async ({ caller, params, body, ifMatch }) => shown(await freezes.patch(caller, params.freeze as string, body, { ifMatch })),
      }),
      route({
        method: 'post',
        path: '/api/v1/freezes/:freeze/end',
        operationId: 'endFreeze',
        summary: 'End a freeze now',
        body: { schema: nothingSchema, required: false },
        headers: ['If-Match'],
        responses: { 200: { description: 'Ended', schema: freezeViewSchema } },
        problems: [409, 412],
        handle: async ({ caller, params, body, ifMatch, idempotency }) => {
          parseActionBody(nothingSchema, body, 'end');
          return shown(await freezes.end(caller, params.freeze as string, { ifMatch, idempotency: idempotency(shown) }));
        },
      }),
      route({
        method: 'delete',
        path: '/api/v1/freezes/:freeze',
        operationId: 'deleteFreeze',
        summary: 'Take away a freeze that has not begun',
        headers: ['If-Match'],
        responses: { 204: { description: 'Removed' } },
        problems: [409, 412],
        handle: async ({ caller, params, ifMatch }) => {
          await freezes.remove(caller, params.freeze as string, { ifMatch });
          return { status: 204, json: null };
        },
      }),
    ],
  };
}

/** As Postgres writes a timestamptz. */
const TIME = /^\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d){0,2}$/;
const isFreezeKey = (values: unknown[]): values is [string, string] =>
  values.length === 2 && typeof values[0] === 'string' && TIME.test(values[0]) && typeof values[1] === 'string';
