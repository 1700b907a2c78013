/** Backfill API: slots of the past that run now. */
import { z } from 'zod';
import { backfillSchema } from '../jobs/operations/backfill-document.ts';
import type { Backfills } from '../jobs/operations/backfills.ts';
import type { OperationView } from '../jobs/operations/operation-view.ts';
import type { Operations } from '../jobs/operations/operations.ts';
import { parseActionBody } from './action-body.ts';
import { lookRoutes, operationSchema } from './operation-routes.ts';
import { type Reply, reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';

const time = z.iso.datetime();
const previewSchema = z
  .object({
    dryRun: z.literal(true),
    count: z.int(),
    first: z.array(time).meta({ description: 'The first slots in the order of work' }),
    last: z.array(time).meta({ description: 'The last ones, besides the first' }),
  })
  .meta({ id: 'BackfillPreview' });

export function createBackfillRoutes({
  backfills,
  operations,
  publicUrl,
}: {
  backfills: Backfills;
  operations: Operations;
  publicUrl: string;
}): RoutesOfGroup {
  const accepted = (operation: OperationView): Reply => reply(202, operation, { Location: `${publicUrl}${operation.links.self}` });
  return {
    group: 'schedule',
    tag: 'Backfills',
    routes: [
      route({
        method: 'post',
        path: '/api/v1/schedule/:job/backfill',
        operationId: 'backfillJob',
        summary: 'Run slots of the past: those that were missed, or all of a range',
        body: {
          schema: backfillSchema,
          required: true,
          example: { from: '2026-11-01T00:00:00Z', only: 'missed', ratePerMinute: 60, dryRun: true },
        },
        responses: {
          200: { description: 'With `dryRun`: how many slots, and which', schema: previewSchema },
          202: { description: 'Accepted', schema: operationSchema, headers: { Location: 'Address of the backfill' } },
        },
        problems: [409],
        handle: async ({ caller, params, body, idempotency }) => {
          const request = parseActionBody(backfillSchema, body, 'backfill');
          const job = params.job as string;
          if (request.dryRun) return reply(200, await backfills.preview(caller, job, request));
          const operation = await backfills.request(caller, job, request, idempotency(accepted));
          operations.begin(caller.team, operation.id, operation.kind);
          return accepted(operation);
        },
      }),
      ...lookRoutes(operations, { family: 'backfills', path: '/api/v1/backfills', one: 'backfill', many: 'Backfills' }),
    ],
  };
}
