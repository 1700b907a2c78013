/** What the slot API answers, for the OpenAPI document. */
import { z } from 'zod';
import { SLOT_OUTCOMES } from '../jobs/ledger/outcomes.ts';

const time = z.iso.datetime();

export const slotSchema = z
  .object({
    slot: time,
    dueAt: time.meta({ description: 'The slot and the offset of the job' }),
    outcome: z.enum(SLOT_OUTCOMES),
    future: z.boolean(),
    executionId: z.string().nullable(),
    startedAt: time.nullable(),
    finishedAt: time.nullable(),
    latenessMs: z.int().nullable(),
    range: z
      .object({
        reason: z.string(),
        from: time.nullable(),
        to: time.nullable(),
        freezeId: z.string().nullable(),
        calendar: z.string().nullable(),
        by: z.string().nullable(),
        note: z.string().nullable(),
      })
      .nullable()
      .meta({ description: 'The stretch that has swallowed the slot, or will' }),
    dst: z.string().nullable().meta({ description: 'What a change of clocks does to it; null on most days' }),
    later: z
      .array(z.object({ executionId: z.string(), trigger: z.string(), status: z.string(), operationId: z.string().nullable() }))
      .meta({ description: 'Backfills and retries of this slot' }),
  })
  .meta({ id: 'Slot' });

export const skippedSlotSchema = z
  .object({
    kind: z.enum(['slot', 'range']),
    jobId: z.string(),
    jobName: z.string(),
    outcome: z.string(),
    slot: time,
    until: time.nullable(),
    count: z.int().nullable().meta({ description: 'Slots in it; null while it is not counted' }),
    executionId: z.string().nullable(),
    decidedAt: time.nullable(),
    freezeId: z.string().nullable(),
    calendar: z.string().nullable(),
    by: z.string().nullable(),
    note: z.string().nullable(),
  })
  .meta({ id: 'SkippedSlot' });

export const healthSchema = z
  .object({
    jobId: z.string(),
    jobName: z.string(),
    measuredAt: time,
    executions: z.int(),
    intervalMs: z.number().meta({ description: 'Shortest time between two slots' }),
    p50Ms: z.number(),
    p95Ms: z.number(),
    share: z.number().meta({ description: 'p95Ms / intervalMs' }),
    waitP50Ms: z.number(),
    waitP95Ms: z.number(),
    slotsPerDay: z.number(),
    projectedSkipsPerDay: z.number(),
    overlap: z.string(),
    warning: z.boolean(),
  })
  .meta({ id: 'IntervalHealth' });

export const loadMapSchema = z
  .object({
    from: time,
    to: time,
    bucket: z.literal('1m'),
    jobs: z.int(),
    jobsLeftOut: z
      .int()
      .meta({ description: 'Jobs that are not counted, because that would have taken too long; 0 for up to tens of thousands' }),
    total: z.int(),
    queues: z.array(z.object({ queue: z.string(), total: z.int(), peak: z.int(), starts: z.array(z.int()) })),
    worst: z.array(z.object({ minute: time, starts: z.int(), byQueue: z.record(z.string(), z.int()) })),
    suggestions: z.array(
      z.object({
        schedule: z.unknown(),
        jobs: z.int(),
        some: z.array(z.object({ jobId: z.string(), jobName: z.string(), queue: z.string() })),
        worstMinutes: z.array(time),
        spread: z.string(),
      }),
    ),
  })
  .meta({ id: 'LoadMap' });
