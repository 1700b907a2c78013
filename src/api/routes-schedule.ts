/** Scheduler API: when a job fires, its pause, starting it by hand, previews, and how the scheduler is doing. */
import { z } from 'zod';
import { JobError } from '../jobs/errors.ts';
import type { AcceptedBatch } from '../jobs/execution-requests.ts';
import type { ExecutionView } from '../jobs/execution-view.ts';
import type { Executions } from '../jobs/executions.ts';
import { pauseSchema, resumeSchema } from '../jobs/operations/pause-document.ts';
import { previewSchema, type Schedules, type ScheduleView } from '../jobs/schedules.ts';
import { durationMs, durationSchema } from '../jobs/time/duration.ts';
import { instantSchema } from '../jobs/time/instant.ts';
import { MOST_PREVIEWED } from '../jobs/time/preview.ts';
import { scheduleSchema } from '../jobs/time/schedule-document.ts';
import { parseActionBody } from './action-body.ts';
import { executionSchema, previewResultSchema, scheduleStatusSchema, scheduleViewSchema } from './documents.ts';
import { etagOf } from './preconditions.ts';
import { wholeNumber } from './query.ts';
import type { Call, Reply } from './request.ts';
import { reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';
import { acceptedBatchSchema, triggerOf, triggerSchema } from './trigger-body.ts';

const MOST_WAIT_MS = 60_000;

const triggerQuery = z.object({
  wait: durationSchema.optional().meta({ description: 'Wait so long (≤ 60s) for the end: 200 when it has ended, else 202' }),
});

const previewQuery = z.object({
  schedule: z.string().meta({ description: 'A schedule as JSON', example: '{"cron":"0 2 * * *"}' }),
  count: wholeNumber(1, MOST_PREVIEWED).optional().meta({ description: 'How many runs; default 5' }),
  from: instantSchema.optional().meta({ description: 'Runs after this time; default now' }),
});

function scheduleOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new JobError('invalid', 'invalid_query', 'schedule is not JSON; write e.g. schedule={"cron":"0 2 * * *"}, percent-encoded.', {
      errors: [{ path: 'query/schedule', message: 'is not JSON', code: 'invalid' }],
    });
  }
}

export type ScheduleRoutesDeps = { schedules: Schedules; executions: Executions; publicUrl: string; inputLimitBytes: number };

export function createScheduleRoutes({ schedules, executions, publicUrl, inputLimitBytes }: ScheduleRoutesDeps): RoutesOfGroup {
  const shown = (schedule: ScheduleView): Reply => reply(200, schedule, { ETag: etagOf(schedule.generation) });
  const accepted = (execution: ExecutionView): Reply => reply(202, execution, { Location: `${publicUrl}${execution.links.self}` });
  const acceptedMany = (batch: AcceptedBatch): Reply => reply(202, batch);
  const optionsOf = ({ ifMatch, preferences, idempotency }: Pick<Call, 'ifMatch' | 'preferences' | 'idempotency'>) => ({
    ifMatch,
    respondAsync: preferences.respondAsync,
    idempotency: idempotency(shown),
  });
  const ANSWER = { 200: { description: 'The schedule with its next 5 times', schema: scheduleViewSchema } };

  return {
    group: 'schedule',
    tag: 'Schedule',
    routes: [
      route({
        method: 'get',
        path: '/api/v1/schedule/status',
        operationId: 'scheduleStatus',
        summary: 'Counts, drift, lateness and backlog',
        responses: { 200: { description: 'How the scheduler is doing', schema: scheduleStatusSchema } },
        handle: async ({ caller }) => reply(200, await schedules.status(caller)),
      }),
      route({
        method: 'post',
        path: '/api/v1/schedule/preview',
        operationId: 'previewSchedule',
        summary: 'The next times of a schedule before it is saved',
        body: { schema: previewSchema, required: true, example: { schedule: { cron: '0 2 * * *', timezone: 'Europe/Berlin' }, count: 5 } },
        idempotent: false,
        responses: { 200: { description: 'The next times', schema: previewResultSchema } },
        handle: async ({ caller, body }) => reply(200, await schedules.preview(caller, body)),
      }),
      route({
        method: 'get',
        path: '/api/v1/schedule/preview',
        operationId: 'showSchedulePreview',
        summary: 'The same as a link: the schedule as JSON in the query',
        query: previewQuery,
        responses: { 200: { description: 'The next times', schema: previewResultSchema } },
        handle: async ({ caller, query: { schedule, ...asked } }) =>
          reply(200, await schedules.preview(caller, { ...asked, schedule: scheduleOf(schedule) })),
      }),
      route({
        method: 'get',
        path: '/api/v1/schedule/:job',
        operationId: 'getSchedule',
        summary: "A job's schedule",
        responses: ANSWER,
        handle: async ({ caller, params }) => shown((await schedules.get(caller, params.job as string)).value),
      }),
      route({
        method: 'post',
        path: '/api/v1/schedule/:job',
        operationId: 'replaceSchedule',
        summary: 'Give a job a schedule, or another one',
        body: { schema: scheduleSchema, required: true, example: { every: '15m' } },
        headers: ['If-Match', 'Prefer'],
        responses: ANSWER,
        problems: [409, 412],
        handle: async (call) => shown((await schedules.replace(call.caller, call.params.job as string, call.body, optionsOf(call))).value),
      }),
      route({
        method: 'delete',
        path: '/api/v1/schedule/:job',
        operationId: 'removeSchedule',
        summary: 'Take the schedule away: the job runs on demand only',
        headers: ['If-Match', 'Prefer'],
        responses: ANSWER,
        problems: [412],
        handle: async (call) => shown((await schedules.remove(call.caller, call.params.job as string, optionsOf(call))).value),
      }),
      route({
        method: 'post',
        path: '/api/v1/schedule/:job/pause',
        operationId: 'pauseSchedule',
        summary: 'Stop slots from starting',
        body: { schema: pauseSchema, required: false, example: { reason: 'database upgrade', until: '2026-12-01T10:00:00Z' } },
        headers: ['If-Match', 'Prefer'],
        responses: ANSWER,
        problems: [412],
        handle: async (call) => {
          const pause = parseActionBody(pauseSchema, call.body, 'pause');
          return shown((await schedules.pause(call.caller, call.params.job as string, pause, optionsOf(call))).value);
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/schedule/:job/resume',
        operationId: 'resumeSchedule',
        summary: 'Let slots start again; says how many were missed, and runs those that are asked for',
        body: { schema: resumeSchema, required: false, example: { catchUp: 'all', dryRun: true } },
        headers: ['If-Match', 'Prefer'],
        responses: ANSWER,
        problems: [409, 412],
        handle: async (call) => {
          const resume = parseActionBody(resumeSchema, call.body, 'resume');
          return shown((await schedules.resume(call.caller, call.params.job as string, resume, optionsOf(call))).value);
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/schedule/:job/trigger',
        operationId: 'triggerJob',
        summary: 'Start a job now, with its input or another',
        query: triggerQuery,
        body: { schema: triggerSchema, required: false, example: { input: { region: 'us' } } },
        bodyLimit: 'batch',
        headers: ['Prefer'],
        responses: {
          202: {
            description: 'Accepted; with `inputs` in short, without `Location`',
            schema: z.union([executionSchema, acceptedBatchSchema]),
            headers: { Location: 'Address of the execution' },
          },
          200: { description: 'It has ended within `wait`', schema: executionSchema },
        },
        problems: [409],
        handle: async ({ caller, params, query, body, preferences, idempotency }) => {
          const waitMs = waitOf(query.wait, preferences.waitMs);
          const { inputs, ...asked } = triggerOf(body, inputLimitBytes);
          if (inputs) {
            if (query.wait !== undefined) throw waitForMany();
            return acceptedMany(
              await executions.triggerMany(caller, params.job as string, { ...asked, inputs }, idempotency(acceptedMany)),
            );
          }
          const execution = await executions.trigger(caller, params.job as string, asked, idempotency(accepted));
          if (waitMs === 0 || preferences.respondAsync) return accepted(execution);
          const waited = await executions.wait(caller, execution.id, waitMs);
          return waited.finishedAt === null ? accepted(waited) : { ...accepted(waited), status: 200 };
        },
      }),
    ],
  };
}

const waitForMany = () =>
  new JobError(
    'invalid',
    'invalid_query',
    'wait cannot be had together with inputs; look at the executions later, or trigger one at a time.',
    {
      errors: [{ path: 'query/wait', message: 'cannot be had together with inputs', code: 'not_with_inputs' }],
    },
  );

function waitOf(query: string | undefined, preferredMs: number | undefined): number {
  const waitMs = query === undefined ? (preferredMs ?? 0) : durationMs(query);
  if (waitMs <= MOST_WAIT_MS) return waitMs;
  throw new JobError('invalid', 'invalid_query', `wait ${query} is longer than 60s; write at most 60s and look at the execution later.`, {
    errors: [{ path: 'query/wait', message: 'must be at most 60s', code: 'too_long' }],
  });
}
