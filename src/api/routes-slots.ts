/** Slot API: what became of every slot, what lies ahead, and how schedules stand up to their load. */
import { z } from 'zod';
import { JobError } from '../jobs/errors.ts';
import type { Ledger } from '../jobs/ledger/ledger.ts';
import { SKIP_REASONS, SLOT_OUTCOMES } from '../jobs/ledger/outcomes.ts';
import { durationMs, durationSchema } from '../jobs/time/duration.ts';
import { instantSchema } from '../jobs/time/instant.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { pageOf } from './documents.ts';
import { jobIdQuery, pageQuery, repeatable } from './query.ts';
import { reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';
import { healthSchema, loadMapSchema, skippedSlotSchema, slotSchema } from './slot-documents.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** One job's slots are worked out a page at a time, those of all jobs are looked for in the whole range. */
const MOST_DAYS_OF_JOB = 400;
const MOST_DAYS = 31;

const jobFilters = {
  q: z.string().max(200).optional().meta({ description: "Part of the job's name, in any case" }),
  service: z.string().max(200).optional(),
  category: z.string().max(200).optional(),
  tag: repeatable(z.string().max(200)).optional().meta({ description: '`name` or `name:value`; all must hold' }),
  queue: z.string().max(100).optional(),
};
const timelineQuery = z.object({
  ...pageQuery,
  outcome: repeatable(z.enum(SLOT_OUTCOMES)).optional(),
  from: instantSchema.optional().meta({ description: 'Slots from this time on; default 24 hours ago' }),
  to: instantSchema.optional().meta({ description: 'Before this time; default 24 hours ahead, or 48 hours after `from`' }),
});
const skippedQuery = z.object({
  ...pageQuery,
  ...jobFilters,
  outcome: repeatable(z.enum(SKIP_REASONS)).optional().meta({ description: 'Why it did not run; default all reasons' }),
  jobId: jobIdQuery,
  from: instantSchema.optional().meta({ description: 'Slots from this time on; default 24 hours ago' }),
  to: instantSchema.optional().meta({ description: 'Before this time; default now' }),
});
const healthQuery = z.object({
  ...pageQuery,
  ...jobFilters,
  atLeast: z
    .string()
    .regex(/^\d{1,6}(\.\d{1,6})?$/, 'must be a number such as 0.8')
    .transform(Number)
    .optional()
    .meta({ type: 'number', description: 'Only jobs whose p95 is at least this share of their interval' }),
});
const loadQuery = z.object({
  window: durationSchema.default('24h').meta({ description: 'How far to look ahead: 1m to 7d', default: '24h' }),
});

export function createSlotRoutes({ ledger }: { ledger: Ledger }): RoutesOfGroup {
  return {
    group: 'schedule',
    tag: 'Slots',
    routes: [
      route({
        method: 'get',
        path: '/api/v1/schedule/:job/slots',
        operationId: 'listJobSlots',
        summary: "One job's slots, past and ahead, in one timeline",
        description:
          'In the order of time. What ran has its execution and status; what did not, its reason; what lies ahead is `expected`, or says what will keep it from running as far as that is known now. With `outcome` a page may hold fewer items than `limit`, even none: go on while `nextCursor` is not null.',
        query: timelineQuery,
        responses: { 200: { description: 'A page of slots', schema: pageOf(slotSchema) } },
        handle: async ({ caller, params, query: { cursor, limit, ...query } }) => {
          const job = params.job as string;
          const binding = cursorBinding('slots of a job', { ...query, job });
          const place = cursor === undefined ? undefined : decodeCursor(cursor, binding, isTimelinePlace);
          const now = Date.now();
          // the window of the first page holds for all that follow
          const [from, to] = place
            ? [new Date(place[0]), new Date(place[1])]
            : windowOf(query, { most: MOST_DAYS_OF_JOB, from: now - DAY_MS, to: now + DAY_MS });
          const after = place && new Date(place[2]);
          const { items, next } = await ledger.timeline(caller, job, { from, to, outcome: query.outcome, limit, after });
          const nextCursor = next === null ? null : encodeCursor(binding, [from.getTime(), to.getTime(), next.getTime()]);
          return reply(200, { items, nextCursor });
        },
      }),
      route({
        method: 'get',
        path: '/api/v1/slots',
        operationId: 'searchSkippedSlots',
        summary: 'Slots of all jobs that did not run, newest first',
        description:
          'A stretch in which a job was paused, frozen, excluded or missed everything is one item of kind `range`, at its beginning or at `from` when it began before.',
        query: skippedQuery,
        responses: { 200: { description: 'A page of slots and ranges', schema: pageOf(skippedSlotSchema) } },
        handle: async ({ caller, query: { cursor, limit, from: _from, to: _to, ...filters }, query }) => {
          const binding = cursorBinding('skipped slots', { ...filters, from: query.from, to: query.to });
          const place = cursor === undefined ? undefined : decodeCursor(cursor, binding, isSkippedPlace);
          const now = Date.now();
          const [from, to] = place
            ? [new Date(place[0]), new Date(place[1])]
            : windowOf(query, { most: MOST_DAYS, from: now - DAY_MS, to: now });
          const after = place && { at: place[2], id: place[3] };
          const { items, next } = await ledger.skipped(caller, { ...filters, from, to, limit, after });
          const nextCursor = next === null ? null : encodeCursor(binding, [from.getTime(), to.getTime(), next.at, next.id]);
          return reply(200, { items, nextCursor });
        },
      }),
      route({
        method: 'get',
        path: '/api/v1/schedule/health',
        operationId: 'scheduleHealth',
        summary: 'How long executions take against the time between slots, worst first',
        description:
          'Measured from the newest 50 executions of each job by the controller, every few minutes. From 0.8 of the interval on (p95) the event `interval_health` is raised.',
        query: healthQuery,
        responses: { 200: { description: 'A page of jobs', schema: pageOf(healthSchema) } },
        handle: async ({ caller, query: { cursor, ...query } }) => {
          const binding = cursorBinding('health', query);
          const place = cursor === undefined ? undefined : decodeCursor(cursor, binding, isHealthPlace);
          const { items, next } = await ledger.health(caller, { ...query, after: place && { share: place[0], jobId: place[1] } });
          return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next.share, next.jobId]) });
        },
      }),
      route({
        method: 'get',
        path: '/api/v1/schedule/load',
        operationId: 'scheduleLoad',
        summary: 'Starts per minute ahead, the worst minutes, and whom to spread',
        query: loadQuery,
        responses: { 200: { description: 'The load map', schema: loadMapSchema } },
        handle: async ({ caller, query }) => reply(200, await ledger.load(caller, loadWindowMs(query.window))),
      }),
    ],
  };
}

/** A wrong value of a parameter, as the query's own reader would say it. */
const wrong = (name: string, code: string, sentence: string) =>
  new JobError('invalid', 'invalid_query', `The query is not valid: ${name} ${sentence}.`, {
    errors: [{ path: `query/${name}`, message: sentence, code }],
  });

/** The asked window, or what stands for the part of it that is not there. */
function windowOf(
  { from, to }: { from?: string | undefined; to?: string | undefined },
  limits: { most: number; from: number; to: number },
): [Date, Date] {
  const width = limits.to - limits.from;
  const end = to !== undefined ? Date.parse(to) : from !== undefined ? Math.max(limits.to, Date.parse(from) + width) : limits.to;
  const begin = from !== undefined ? Date.parse(from) : to !== undefined ? Date.parse(to) - width : limits.from;
  const bounded = to === undefined ? Math.min(end, begin + limits.most * DAY_MS) : end;
  if (bounded <= begin) throw wrong('to', 'empty_range', `must be after from ${from}`);
  if (bounded - begin > limits.most * DAY_MS)
    throw wrong('to', 'range_too_long', `is more than ${limits.most} days after from; ask for at most ${limits.most} days at a time`);
  return [new Date(begin), new Date(bounded)];
}

function loadWindowMs(window: string): number {
  const ms = durationMs(window);
  if (ms < 60_000 || ms > 7 * DAY_MS) throw wrong('window', 'out_of_range', `must be 1m to 7d (is ${window})`);
  return Math.ceil(ms / 60_000) * 60_000;
}

const isMoment = (value: unknown): value is number => Number.isSafeInteger(value) && Math.abs(value as number) < 8e12;
const isTimelinePlace = (values: unknown[]): values is [number, number, number] => values.length === 3 && values.every(isMoment);
const isSkippedPlace = (values: unknown[]): values is [number, number, string, string] =>
  values.length === 4 &&
  isMoment(values[0]) &&
  isMoment(values[1]) &&
  typeof values[2] === 'string' &&
  /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(values[2]) &&
  typeof values[3] === 'string';
const isHealthPlace = (values: unknown[]): values is [number, string] =>
  values.length === 2 && typeof values[0] === 'number' && typeof values[1] === 'string';
