/** What the API answers, for the OpenAPI document. Answers are not validated against these: they come from our own code and tables. */
import { z } from 'zod';
import { EXECUTION_STATUSES, EXECUTION_TRIGGERS, TERMINAL_STATUSES } from '../jobs/execution-view.ts';
import { jobDocumentSchema } from '../jobs/job-document.ts';
import { serviceSchema } from '../jobs/services-document.ts';
import { scheduleSchema } from '../jobs/time/schedule-document.ts';

export const JOB_STATES = ['active', 'paused', 'disabled', 'finished', 'on_demand', 'deleting'] as const;

const time = z.iso.datetime();
const state = z.enum(JOB_STATES);
const sync = z.enum(['synced', 'pending']).meta({ description: '`pending`: committed, and not yet known to be in Temporal' });
const pause = z
  .object({
    reason: z.string().nullable(),
    by: z.string(),
    at: time,
    blockManual: z.boolean(),
    automatic: z.boolean(),
    until: time.nullish().meta({ description: 'When it ends by itself' }),
  })
  .nullable();

const frozen = z
  .object({ id: z.string(), reason: z.string(), until: time.nullable() })
  .nullable()
  .meta({ description: 'The freeze that holds it now; null: none. Not in lists, and not in the answer to its creation' });

/** A page of something. */
export const pageOf = (item: z.ZodType) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable().meta({ description: 'Null on the last page' }) });

export const jobViewSchema = z
  .object({
    id: z.string(),
    ...jobDocumentSchema.shape,
    generation: z.int(),
    state,
    sync,
    pause,
    createdBy: z.string(),
    createdAt: time,
    updatedAt: time,
    nextRunAt: time.nullable(),
    nextRuns: z.array(time).optional().meta({ description: 'The next 5 due times; not in lists' }),
    frozen: frozen.optional(),
    lastOutcome: z.enum(TERMINAL_STATUSES).nullable(),
    lastExecution: z.unknown(),
    dispatchChoice: z.object({ dispatch: z.enum(['dedicated', 'pooled']), reason: z.string() }),
  })
  .meta({ id: 'Job', description: 'A job document with what Almanac knows about it' });

export const serviceViewSchema = z
  .object({ id: z.string(), ...serviceSchema.shape, generation: z.int(), createdBy: z.string(), createdAt: time, updatedAt: time })
  .meta({ id: 'Service' });

export const revisionSchema = z
  .object({ generation: z.int(), document: jobDocumentSchema, changedBy: z.string(), createdAt: time })
  .meta({ id: 'JobRevision' });

export const scheduleViewSchema = z
  .object({
    jobId: z.string(),
    jobName: z.string(),
    generation: z.int(),
    state,
    schedule: scheduleSchema.nullable(),
    sync,
    pause,
    nextRunAt: time.nullable(),
    nextRuns: z.array(time),
    nextStartAt: time.nullable().meta({ description: "When the next run begins: its due time and the job's own offset" }),
    frozen: frozen.optional(),
    jitterOffset: z.string().nullable(),
    warnings: z.array(z.looseObject({ kind: z.string(), message: z.string() })),
    resumed: z
      .object({
        dryRun: z.boolean(),
        missed: z.int().nullable().meta({ description: 'Slots that would have run but for the pause; null: more than 100,000' }),
        message: z.string(),
        catchUp: z.object({
          policy: z.enum(['none', 'last', 'all']),
          count: z.int(),
          first: z.array(time),
          last: z.array(time),
          backfill: z.string().nullable(),
        }),
      })
      .optional()
      .meta({ description: 'Only in the answer to a resume' }),
  })
  .meta({ id: 'JobSchedule' });

export const previewResultSchema = z
  .object({
    timezone: z.string(),
    runs: z.array(
      z.object({
        slot: time,
        local: z.string(),
        due: time.meta({ description: "The slot and the job's own offset" }),
        dst: z.enum(['shifted', 'repeated']).optional().meta({
          description: 'Its wall time does not exist that day, and it runs when the clocks have jumped; or its wall time comes twice',
        }),
      }),
    ),
    skipped: z
      .array(z.object({ slot: time, local: z.string(), dst: z.literal('skipped'), reason: z.enum(['dst_gap', 'dst_repeat']) }))
      .meta({ description: 'Slots up to the last of the runs that dst leaves out, the first 100' }),
    excluded: z
      .array(z.object({ slot: time, local: z.string(), calendar: z.string() }))
      .meta({ description: 'Slots up to the last of the runs that a calendar stops, the first 100' }),
    jitterOffset: z.string().nullable(),
    warnings: z.array(z.looseObject({ kind: z.string(), message: z.string() })),
  })
  .meta({ id: 'SchedulePreview' });

export const scheduleStatusSchema = z
  .looseObject({
    jobs: z.looseObject({ total: z.int() }),
    drift: z.looseObject({}),
    lateness: z.looseObject({}),
    queues: z.array(z.looseObject({ queue: z.string() })),
    watchdog: z.looseObject({ silentSince: time.nullable() }),
  })
  .meta({ id: 'ScheduleStatus', description: 'Counts, drift between Postgres and Temporal, lateness of the last hour, backlog by queue' });

export const executionSchema = z
  .object({
    id: z.string(),
    jobId: z.string(),
    jobName: z.string(),
    generation: z.int(),
    team: z.string(),
    trigger: z.enum(EXECUTION_TRIGGERS),
    slot: time.nullable().meta({ description: 'Due time of the schedule; null when there is none' }),
    dueAt: time,
    status: z.enum(EXECUTION_STATUSES),
    waiting: z.boolean(),
    reason: z.string().nullable(),
    attempt: z.int(),
    maxAttempts: z.int(),
    priority: z.int(),
    createdAt: time,
    startedAt: time.nullable(),
    finishedAt: time.nullable(),
    durationMs: z.int().nullable(),
    latenessMs: z.int().nullable(),
    dispatch: z.string(),
    queue: z.string(),
    workflowId: z.string().nullable(),
    runId: z.string().nullable(),
    chunk: z.string().nullable().meta({ description: 'Of a shared workflow: which activity made the call, and on which worker' }),
    retryOf: z.string().nullable(),
    label: z.string().nullable().meta({ description: 'What for, in the words of who asked' }),
    operationId: z.string().nullable().meta({ description: 'The backfill or bulk operation that asked for it' }),
    freeze: z
      .object({ id: z.string(), reason: z.string().nullable() })
      .nullable()
      .meta({ description: 'The freeze for whose end it waits or waited, or because of which it was skipped' }),
    requestedBy: z.string().nullable(),
    cancelRequestedAt: time.nullable(),
    cancelledBy: z.string().nullable(),
    input: z.unknown().optional(),
    result: z.unknown(),
    error: z.object({ type: z.string(), message: z.string(), attempt: z.int().nullable() }).nullable(),
    links: z.object({ self: z.string(), job: z.string(), temporal: z.string().nullable() }),
  })
  .meta({ id: 'Execution' });

export const executionDetailSchema = z
  .object({
    ...executionSchema.shape,
    attempts: z.array(
      z.object({
        attempt: z.int(),
        status: z.string(),
        startedAt: time,
        finishedAt: time,
        durationMs: z.int(),
        responseStatus: z.int().nullable(),
        error: z.unknown(),
        worker: z.string().nullable(),
      }),
    ),
    live: z.unknown().meta({
      description:
        'What Temporal says of the workflow now, `shared` when it serves other executions too; null when Temporal no longer knows it',
    }),
    archive: z.string().optional().meta({ description: 'It has left the database and was read from this archive' }),
  })
  .meta({ id: 'ExecutionDetail' });
