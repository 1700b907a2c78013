/** Channels: the ways to people and programs. */
import { z } from 'zod';
import { strictShape } from '../jobs/job-issues.ts';
import { channelSchema } from '../jobs/notifications/channel-document.ts';
import type { Channels, ChannelView } from '../jobs/notifications/channels.ts';
import type { Deliveries } from '../jobs/notifications/deliveries.ts';
import { parseActionBody } from './action-body.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { pageOf } from './documents.ts';
import { channelViewSchema, deliveryDetailSchema } from './notification-documents.ts';
import { etagOf, noneMatchHit, refuseCreateOnly } from './preconditions.ts';
import { pageQuery } from './query.ts';
import { type Reply, reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';

const EXAMPLE = { type: 'slack', name: 'ops-slack', url: 'https://hooks.slack.com/services/T0/B0/x' };
const isName = (values: unknown[]): values is [string] => values.length === 1 && typeof values[0] === 'string';
const nothing = strictShape({}, 'nothing');

export function createChannelRoutes({
  channels,
  deliveries,
  publicUrl,
}: {
  channels: Channels;
  deliveries: Deliveries;
  publicUrl: string;
}): RoutesOfGroup {
  const shown = (status: number, channel: ChannelView): Reply => reply(status, channel, { ETag: etagOf(channel.generation) });
  const created = (channel: ChannelView): Reply =>
    reply(201, channel, { Location: `${publicUrl}/api/v1/channels/${channel.id}`, ETag: etagOf(channel.generation) });

  return {
    group: 'jobs',
    tag: 'Notifications',
    routes: [
      route({
        method: 'get',
        path: '/api/v1/channels',
        operationId: 'listChannels',
        summary: 'Channels by name',
        query: z.object(pageQuery),
        responses: { 200: { description: 'A page of channels', schema: pageOf(channelViewSchema) } },
        handle: async ({ caller, query: { cursor, limit } }) => {
          const binding = cursorBinding('channels', {});
          const after = cursor === undefined ? null : decodeCursor(cursor, binding, isName)[0];
          const { items, next } = await channels.list(caller, { limit, after });
          return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next]) });
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/channels',
        operationId: 'createChannel',
        summary: 'Make a channel',
        description: 'The signing secret of a webhook that is made here is shown in this answer only.',
        body: { schema: channelSchema, required: true, example: EXAMPLE },
        responses: { 201: { description: 'Made', schema: channelViewSchema, headers: { Location: 'Address of the channel' } } },
        problems: [409],
        handle: async ({ caller, body, idempotency }) =>
          created((await channels.create(caller, body, { idempotency: idempotency(created) })).value),
      }),
      route({
        method: 'get',
        path: '/api/v1/channels/:channel',
        operationId: 'getChannel',
        summary: 'One channel',
        headers: ['If-None-Match'],
        responses: { 200: { description: 'The channel', schema: channelViewSchema }, 304: { description: 'Unchanged' } },
        handle: async ({ caller, params, header }) => {
          const { value, generation } = await channels.get(caller, params.channel as string);
          const headers = { ETag: etagOf(generation) };
          return noneMatchHit(header('if-none-match'), headers.ETag) ? { status: 304, json: null, headers } : reply(200, value, headers);
        },
      }),
      route({
        method: 'put',
        path: '/api/v1/channels/:channel',
        operationId: 'putChannel',
        summary: 'Replace a channel; by name also make it',
        body: { schema: channelSchema, required: true, example: EXAMPLE },
        headers: ['If-Match'],
        responses: {
          200: { description: 'Replaced', schema: channelViewSchema },
          201: { description: 'Made', schema: channelViewSchema },
        },
        problems: [409, 412],
        handle: async ({ caller, params, body, ifMatch, header }) => {
          refuseCreateOnly(header('if-none-match'));
          const written = await channels.upsert(caller, params.channel as string, body, { ifMatch });
          return written.created ? created(written.value) : shown(200, written.value);
        },
      }),
      route({
        method: 'patch',
        path: '/api/v1/channels/:channel',
        operationId: 'patchChannel',
        summary: 'Change parts of a channel, e.g. mute it (JSON Merge Patch, RFC 7396)',
        body: {
          schema: z.looseObject({}),
          required: true,
          type: 'application/merge-patch+json',
          example: { mutedUntil: '2026-12-01T10:00:00Z' },
        },
        headers: ['If-Match'],
        responses: { 200: { description: 'Changed', schema: channelViewSchema } },
        problems: [409, 412],
        handle: async ({ caller, params, body, ifMatch }) =>
          shown(200, (await channels.patch(caller, params.channel as string, body, { ifMatch })).value),
      }),
      route({
        method: 'delete',
        path: '/api/v1/channels/:channel',
        operationId: 'deleteChannel',
        summary: 'Remove a channel that no rule names',
        headers: ['If-Match'],
        responses: { 204: { description: 'Removed' } },
        problems: [409, 412],
        handle: async ({ caller, params, ifMatch }) => {
          await channels.remove(caller, params.channel as string, { ifMatch });
          return { status: 204, json: null };
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/channels/:channel/test',
        operationId: 'testChannel',
        summary: 'Send a test now and say how it went',
        description:
          'Tried once, at any hour and although the channel is muted. `state` is `delivered`, or `failed` with the reason in `lastAttempt`.',
        body: { schema: nothing, required: false },
        responses: { 200: { description: 'The delivery with its outcome', schema: deliveryDetailSchema } },
        handle: async ({ caller, params, body }) => {
          parseActionBody(nothing, body, 'test');
          return reply(200, await deliveries.test(caller, params.channel as string));
        },
      }),
    ],
  };
}
