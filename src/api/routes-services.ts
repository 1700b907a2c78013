/** Services: the registered systems that own jobs and receive calls. */
import { z } from 'zod';
import type { Services } from '../jobs/services.ts';
import { type ServiceView, serviceSchema } from '../jobs/services-document.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { pageOf, serviceViewSchema } from './documents.ts';
import { etagOf, noneMatchHit, refuseCreateOnly } from './preconditions.ts';
import { pageQuery } from './query.ts';
import { type Reply, reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';

const EXAMPLE = { name: 'invoicing', baseUrl: 'https://invoicing.example.com' };
const isName = (values: unknown[]): values is [string] => values.length === 1 && typeof values[0] === 'string';

export function createServiceRoutes({ services, publicUrl }: { services: Services; publicUrl: string }): RoutesOfGroup {
  const shown = (status: number, service: ServiceView): Reply => reply(status, service, { ETag: etagOf(service.generation) });
  const created = (service: ServiceView): Reply =>
    reply(201, service, { Location: `${publicUrl}/api/v1/services/${service.id}`, ETag: etagOf(service.generation) });

  return {
    group: 'jobs',
    tag: 'Services',
    routes: [
      route({
        method: 'get',
        path: '/api/v1/services',
        operationId: 'listServices',
        summary: 'Services by name',
        query: z.object(pageQuery),
        responses: { 200: { description: 'A page of services', schema: pageOf(serviceViewSchema) } },
        handle: async ({ caller, query: { cursor, limit } }) => {
          const binding = cursorBinding('services', {});
          const after = cursor === undefined ? null : decodeCursor(cursor, binding, isName)[0];
          const { items, next } = await services.list(caller, { limit, after });
          return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next]) });
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/services',
        operationId: 'createService',
        summary: 'Register a service',
        body: { schema: serviceSchema, required: true, example: EXAMPLE },
        responses: { 201: { description: 'Registered', schema: serviceViewSchema, headers: { Location: 'Address of the service' } } },
        problems: [409],
        handle: async ({ caller, body, idempotency }) =>
          created((await services.create(caller, body, { idempotency: idempotency(created) })).value),
      }),
      route({
        method: 'get',
        path: '/api/v1/services/:service',
        operationId: 'getService',
        summary: 'One service',
        headers: ['If-None-Match'],
        responses: { 200: { description: 'The service', schema: serviceViewSchema }, 304: { description: 'Unchanged' } },
        handle: async ({ caller, params, header }) => {
          const { value, generation } = await services.get(caller, params.service as string);
          const headers = { ETag: etagOf(generation) };
          return noneMatchHit(header('if-none-match'), headers.ETag) ? { status: 304, json: null, headers } : reply(200, value, headers);
        },
      }),
      route({
        method: 'put',
        path: '/api/v1/services/:service',
        operationId: 'putService',
        summary: 'Replace a service; by name also register it',
        body: { schema: serviceSchema, required: true, example: EXAMPLE },
        headers: ['If-Match'],
        responses: {
          200: { description: 'Replaced', schema: serviceViewSchema },
          201: { description: 'Registered', schema: serviceViewSchema },
        },
        problems: [409, 412],
        handle: async ({ caller, params, body, ifMatch, header }) => {
          refuseCreateOnly(header('if-none-match'));
          const written = await services.upsert(caller, params.service as string, body, { ifMatch });
          return written.created ? created(written.value) : shown(200, written.value);
        },
      }),
      route({
        method: 'patch',
        path: '/api/v1/services/:service',
        operationId: 'patchService',
        summary: 'Change parts of a service (JSON Merge Patch, RFC 7396)',
        body: { schema: z.looseObject({}), required: true, type: 'application/merge-patch+json', example: { description: 'Bills' } },
        headers: ['If-Match'],
        responses: { 200: { description: 'Changed', schema: serviceViewSchema } },
        problems: [409, 412],
        handle: async ({ caller, params, body, ifMatch }) =>
          shown(200, (await services.patch(caller, params.service as string, body, { ifMatch })).value),
      }),
      route({
        method: 'delete',
        path: '/api/v1/services/:service',
        operationId: 'deleteService',
        summary: 'Remove a service that no job names',
        headers: ['If-Match'],
        responses: { 204: { description: 'Removed' } },
        problems: [409, 412],
        handle: async ({ caller, params, ifMatch }) => {
          await services.remove(caller, params.service as string, { ifMatch });
          return { status: 204, json: null };
        },
      }),
    ],
  };
}
