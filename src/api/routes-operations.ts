/** Bulk operations API: one thing done to many jobs or executions, as durable work. */
import { z } from 'zod';
import { BULK_ACTIONS } from '../jobs/operations/operation-store.ts';
import type { OperationView } from '../jobs/operations/operation-view.ts';
import type { Operations } from '../jobs/operations/operations.ts';
import { bulkOf, bulkSchema } from './bulk-body.ts';
import { lookRoutes, operationSchema } from './operation-routes.ts';
import { type Reply, reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';

const previewSchema = z
  .object({
    dryRun: z.literal(true),
    action: z.enum(BULK_ACTIONS),
    count: z.int(),
    missing: z.int().meta({ description: 'Of the ids that were named, so many are not there' }),
    sample: z.array(z.object({ jobId: z.string(), jobName: z.string(), executionId: z.string().optional(), status: z.string() })),
  })
  .meta({ id: 'BulkOperationPreview' });

export function createOperationRoutes({
  operations,
  publicUrl,
  inputLimitBytes,
}: {
  operations: Operations;
  publicUrl: string;
  inputLimitBytes: number;
}): RoutesOfGroup {
  const accepted = (operation: OperationView): Reply => reply(202, operation, { Location: `${publicUrl}${operation.links.self}` });
  return {
    group: 'jobs',
    tag: 'Bulk operations',
    routes: [
      route({
        method: 'post',
        path: '/api/v1/bulk-operations',
        operationId: 'createBulkOperation',
        summary: 'Pause, resume, trigger, delete or change many jobs; retry, cancel or terminate many executions',
        body: {
          schema: bulkSchema,
          required: true,
          example: { action: 'pause', jobs: { filter: { service: 'billing' } }, reason: 'migration', dryRun: true },
        },
        bodyLimit: 'batch',
        responses: {
          200: { description: 'With `dryRun`: how many, and the first of them', schema: previewSchema },
          202: { description: 'Accepted', schema: operationSchema, headers: { Location: 'Address of the operation' } },
        },
        problems: [409],
        handle: async ({ caller, body, idempotency }) => {
          const { request, dryRun } = bulkOf(body, inputLimitBytes);
          if (dryRun) return reply(200, await operations.preview(caller, request));
          return accepted(await operations.create(caller, request, idempotency(accepted)));
        },
      }),
      ...lookRoutes(operations, { family: 'bulk', path: '/api/v1/bulk-operations', one: 'bulk operation', many: 'Bulk operations' }),
    ],
  };
}
