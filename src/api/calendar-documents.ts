/** What the routes of calendars answer, for the OpenAPI document. */
import { z } from 'zod';
import { calendarSchema } from '../jobs/calendars/calendar-document.ts';

const time = z.iso.datetime();

export const calendarViewSchema = z
  .object({ ...calendarSchema.shape, version: z.int(), createdBy: z.string(), createdAt: time, updatedAt: time })
  .meta({ id: 'Calendar' });

export const calendarSummarySchema = z
  .object({
    name: z.string(),
    description: z.string().nullable(),
    version: z.int(),
    parts: z.array(z.string()).meta({ description: 'Which parts it has: dates, ranges, weekly, holidays, ics' }),
    jobs: z.int().meta({ description: 'How many jobs name it' }),
    createdBy: z.string(),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'CalendarSummary' });

export const calendarVersionSchema = z
  .object({ version: z.int(), document: calendarSchema, changedBy: z.string(), createdAt: time })
  .meta({ id: 'CalendarVersion' });

export const calendarDaysSchema = z
  .object({ timezone: z.string(), from: time, to: time, items: z.array(z.object({ from: time, to: time })) })
  .meta({ id: 'CalendarDays', description: 'Merged stretches: from <= t < to' });

export const calendarReplanSchema = z
  .object({
    dryRun: z.literal(true),
    calendar: calendarViewSchema.meta({ description: 'As it would be' }),
    replan: z.object({
      until: time.meta({ description: 'The look goes so far: 90 days' }),
      jobs: z.int().meta({ description: 'Jobs that use it' }),
      affectedJobs: z.int().meta({ description: 'Jobs whose slots change' }),
      added: z.int().meta({ description: 'Slots of all jobs that begin to run' }),
      removed: z.int().meta({ description: 'Slots of all jobs that no longer run' }),
      complete: z.boolean().meta({ description: 'False: there are more slots than were counted (1,000 of a job, 200,000 of all)' }),
      items: z
        .array(
          z.object({
            jobId: z.string(),
            jobName: z.string(),
            added: z.int(),
            addedSlots: z.array(time),
            removed: z.int(),
            removedSlots: z.array(time),
          }),
        )
        .meta({ description: 'The first 100 jobs that change, with the first five slots of each kind' }),
    }),
  })
  .meta({ id: 'CalendarReplan' });
