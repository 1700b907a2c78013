/** Archives: months whose executions have left the database, and reading them back. */
import { z } from 'zod';
import type { Archives, LinePosition } from '../jobs/archive/archives.ts';
import { instantSchema } from '../jobs/time/instant.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { executionSchema, pageOf } from './documents.ts';
import { jobIdQuery, pageQuery, rangeOf } from './query.ts';
import { reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';

const time = z.iso.datetime();
const archiveSchema = z
  .object({
    id: z.string(),
    month: z.string().meta({ example: '2025-03' }),
    state: z
      .enum(['held', 'writing', 'written', 'complete'])
      .meta({ description: '`held`: it stays in the database, `reason` says why; `complete`: it has left' }),
    reason: z.enum(['no_archive', 'unfinished', 'clocks_behind', 'place_failed']).nullable(),
    detail: z.string().nullable(),
    place: z.enum(['directory', 'bucket']).nullable(),
    address: z.string().nullable(),
    executions: z.int().meta({ description: "The team's executions in it" }),
    attempts: z.int(),
    ranges: z.int().meta({ description: 'Stretches in which slots did not run, that ended in the month' }),
    bytes: z.int().meta({ description: 'Compressed' }),
    createdAt: time,
    writtenAt: time.nullable(),
    completedAt: time.nullable(),
  })
  .meta({ id: 'Archive' });
const place = z.object({ job: z.string(), at: time });
const manifestSchema = z
  .object({
    format: z.literal('almanac-archive-1'),
    id: z.string(),
    month: time,
    until: time,
    schemaVersion: z.string(),
    executions: z.int(),
    attempts: z.int(),
    ranges: z.int(),
    bytes: z.int(),
    teams: z.array(z.object({ team: z.string(), executions: z.int(), attempts: z.int(), ranges: z.int() })),
    objects: z.array(
      z.object({
        table: z.enum(['executions', 'attempts', 'ranges']),
        name: z.string(),
        rows: z.int(),
        bytes: z.int(),
        rawBytes: z.int(),
        sha256: z.string(),
        team: z.string(),
        first: place,
        last: place,
      }),
    ),
  })
  .meta({ id: 'ArchiveManifest', description: "The objects that hold the team's rows: gzip of one JSON object per line" });
const archiveDetailSchema = z.object({ ...archiveSchema.shape, manifest: manifestSchema }).meta({ id: 'ArchiveDetail' });

const executionsQuery = z.object({
  ...pageQuery,
  jobId: jobIdQuery,
  from: instantSchema.optional().meta({ description: 'Slot, or creation when there is no slot: from this time on' }),
  to: instantSchema.optional().meta({ description: 'Before this time' }),
});

export function createArchiveRoutes({ archives }: { archives: Archives }): RoutesOfGroup {
  return {
    group: 'executions',
    tag: 'Archives',
    routes: [
      route({
        method: 'get',
        path: '/api/v1/archives',
        operationId: 'listArchives',
        summary: 'Months that have left the database or should have, newest first',
        query: z.object(pageQuery),
        responses: { 200: { description: 'A page of archives', schema: pageOf(archiveSchema) } },
        handle: async ({ caller, query: { cursor, limit } }) => {
          const binding = cursorBinding('archives', {});
          const values = cursor === undefined ? undefined : decodeCursor(cursor, binding, isArchiveKey);
          const { items, next } = await archives.list(caller, { limit, after: values && { month: values[0], id: values[1] } });
          return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next.month, next.id]) });
        },
      }),
      route({
        method: 'get',
        path: '/api/v1/archives/:archive',
        operationId: 'getArchive',
        summary: 'One archive with its manifest',
        responses: { 200: { description: 'The archive', schema: archiveDetailSchema } },
        handle: async ({ caller, params }) => reply(200, await archives.get(caller, params.archive as string)),
      }),
      route({
        method: 'get',
        path: '/api/v1/archives/:archive/executions',
        operationId: 'listArchivedExecutions',
        summary: 'Executions in an archive, by job and time',
        description: 'A page may be short, even empty, before the last: read on while there is a `nextCursor`.',
        query: executionsQuery,
        responses: { 200: { description: 'A page of executions', schema: pageOf(executionSchema) } },
        problems: [503],
        handle: async ({ caller, params, query: { cursor, limit, ...query } }) => {
          const archive = params.archive as string;
          const binding = cursorBinding('archived executions', { ...query, archive });
          const values = cursor === undefined ? undefined : decodeCursor(cursor, binding, isPosition);
          const after: LinePosition | undefined = values && { chunk: values[0], line: values[1] };
          const { items, next } = await archives.executions(caller, archive, { jobId: query.jobId, ...rangeOf(query), limit, after });
          return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next.chunk, next.line]) });
        },
      }),
    ],
  };
}

const isArchiveKey = (values: unknown[]): values is [string, string] =>
  values.length === 2 &&
  typeof values[1] === 'string' &&
  typeof values[0] === 'string' &&
  /^\d{4}-\d\d-\d\dT[\d:.]{8,15}Z$/.test(values[0]);
const isPosition = (values: unknown[]): values is [number, number] =>
  values.length === 2 && values.every((value) => Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31);
