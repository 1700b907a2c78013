/** Who is told what: the rules of the team, mutes of jobs, and the log of deliveries. */
import { z } from 'zod';
import { strictShape } from '../jobs/job-issues.ts';
import type { Deliveries, DeliveryDetail } from '../jobs/notifications/deliveries.ts';
import { DELIVERY_STATES } from '../jobs/notifications/delivery-log-store.ts';
import { type JobMutes, muteSchema } from '../jobs/notifications/job-mutes.ts';
import { NOTIFY_KINDS, teamRulesSchema } from '../jobs/notifications/notify-rules.ts';
import type { TeamNotify } from '../jobs/notifications/team-rules.ts';
import { parseActionBody } from './action-body.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { pageOf } from './documents.ts';
import { deliveryDetailSchema, deliverySchema, muteViewSchema, rulesViewSchema } from './notification-documents.ts';
import { etagOf, noneMatchHit, refuseCreateOnly } from './preconditions.ts';
import { pageQuery, repeatable } from './query.ts';
import { type Reply, reply } from './request.ts';
import { type RouteSpec, type RoutesOfGroup, route } from './route.ts';

const nothing = strictShape({}, 'nothing');
const isId = (values: unknown[]): values is [string] => values.length === 1 && typeof values[0] === 'string';

export function createNotificationRoutes({
  teamNotify,
  jobMutes,
  deliveries,
  publicUrl,
}: {
  teamNotify: TeamNotify;
  jobMutes: JobMutes;
  deliveries: Deliveries;
  publicUrl: string;
}): RoutesOfGroup {
  return {
    group: 'jobs',
    tag: 'Notifications',
    routes: [...ruleRoutes(teamNotify), ...muteRoutes(jobMutes), ...deliveryRoutes(deliveries, publicUrl)],
  };
}

function ruleRoutes(teamNotify: TeamNotify): RouteSpec[] {
  return [
    route({
      method: 'get',
      path: '/api/v1/notification-rules',
      operationId: 'getNotificationRules',
      summary: 'Who is told what of all jobs of the team',
      headers: ['If-None-Match'],
      responses: { 200: { description: 'The rules', schema: rulesViewSchema }, 304: { description: 'Unchanged' } },
      handle: async ({ caller, header }) => {
        const { value, generation } = await teamNotify.get(caller);
        const headers = { ETag: etagOf(generation) };
        return noneMatchHit(header('if-none-match'), headers.ETag) ? { status: 304, json: null, headers } : reply(200, value, headers);
      },
    }),
    route({
      method: 'put',
      path: '/api/v1/notification-rules',
      operationId: 'putNotificationRules',
      summary: 'Replace the rules of the team',
      body: {
        schema: teamRulesSchema,
        required: true,
        example: { rules: [{ on: ['failed', 'missed', 'recovered'], channel: 'ops-slack', filter: { tags: { env: 'prod' } } }] },
      },
      headers: ['If-Match'],
      responses: { 200: { description: 'Replaced', schema: rulesViewSchema } },
      problems: [412],
      handle: async ({ caller, body, ifMatch, header }) => {
        refuseCreateOnly(header('if-none-match'));
        const { value, generation } = await teamNotify.put(caller, body, { ifMatch });
        return reply(200, value, { ETag: etagOf(generation) });
      },
    }),
  ];
}

function muteRoutes(jobMutes: JobMutes): RouteSpec[] {
  const path = '/api/v1/jobs/:job/mute';
  const MUTED = { 200: { description: 'Until when', schema: muteViewSchema } };
  return [
    route({
      method: 'get',
      path,
      operationId: 'getJobMute',
      summary: 'Whether a job is muted',
      responses: MUTED,
      handle: async ({ caller, params }) => reply(200, await jobMutes.get(caller, params.job as string)),
    }),
    route({
      method: 'put',
      path,
      operationId: 'muteJob',
      summary: 'Tell nobody of a job for a while',
      body: { schema: muteSchema, required: true, example: { until: '2026-12-01T10:00:00Z', reason: 'maintenance' } },
      responses: MUTED,
      handle: async ({ caller, params, body }) =>
        reply(200, await jobMutes.mute(caller, params.job as string, parseActionBody(muteSchema, body, 'mute'))),
    }),
    route({
      method: 'delete',
      path,
      operationId: 'unmuteJob',
      summary: 'Tell of the job again',
      responses: MUTED,
      handle: async ({ caller, params }) => reply(200, await jobMutes.unmute(caller, params.job as string)),
    }),
  ];
}

function deliveryRoutes(deliveries: Deliveries, publicUrl: string): RouteSpec[] {
  const accepted = (delivery: DeliveryDetail): Reply => reply(202, delivery, { Location: `${publicUrl}/api/v1/deliveries/${delivery.id}` });
  return [
    route({
      method: 'get',
      path: '/api/v1/deliveries',
      operationId: 'listDeliveries',
      summary: 'What was told to whom, newest first',
      query: z.object({
        ...pageQuery,
        channel: z.string().max(200).optional().meta({ description: 'Id or name' }),
        job: z.string().max(200).optional().meta({ description: 'Id or name' }),
        state: repeatable(z.enum(DELIVERY_STATES)).optional(),
        kind: repeatable(z.enum([...NOTIFY_KINDS, 'test'])).optional(),
      }),
      responses: { 200: { description: 'A page of deliveries', schema: pageOf(deliverySchema) } },
      problems: [404],
      handle: async ({ caller, query: { cursor, limit, ...query } }) => {
        const binding = cursorBinding('deliveries', query);
        const after = cursor === undefined ? undefined : decodeCursor(cursor, binding, isId)[0];
        const { items, next } = await deliveries.list(caller, { ...query, limit, after });
        return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next]) });
      },
    }),
    route({
      method: 'get',
      path: '/api/v1/deliveries/:delivery',
      operationId: 'getDelivery',
      summary: 'One delivery with its message, attempts and jobs',
      responses: { 200: { description: 'The delivery', schema: deliveryDetailSchema } },
      handle: async ({ caller, params }) => reply(200, await deliveries.get(caller, params.delivery as string)),
    }),
    route({
      method: 'post',
      path: '/api/v1/deliveries/:delivery/redeliver',
      operationId: 'redeliver',
      summary: 'Send one again that has ended, under the same id',
      body: { schema: nothing, required: false },
      responses: { 202: { description: 'Accepted', schema: deliveryDetailSchema, headers: { Location: 'Address of the delivery' } } },
      problems: [409],
      handle: async ({ caller, params, body }) => {
        parseActionBody(nothing, body, 'redelivery');
        return accepted(await deliveries.redeliver(caller, params.delivery as string));
      },
    }),
  ];
}
