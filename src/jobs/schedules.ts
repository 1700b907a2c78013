/** Use cases on schedules: the part of a job that says when, its pause, previews, and how the whole scheduler is doing. */
import { z } from 'zod';
import type { Pool } from '../postgres.ts';
import { unknownCalendars } from './calendars/calendar-references.ts';
import { withHolidayDates } from './calendars/holiday-dates.ts';
import { stopRules } from './calendars/slot-filter.ts';
import type { Caller } from './caller.ts';
import { type FieldError, JobError } from './errors.ts';
import type { Frozen } from './freezes/freezes-of-job.ts';
import { NO_EFFECTS } from './job-change.ts';
import type { JobState } from './job-facts.ts';
import { documentIssues, strictShape } from './job-issues.ts';
import { jsonProblem } from './job-json.ts';
import type { Pause, StoredJob, Sync } from './job-store.ts';
import type { JobView } from './job-view.ts';
import type { Jobs, Locked, WriteOptions, Written } from './jobs.ts';
import { createBackfills } from './operations/backfills.ts';
import { missedInPauses } from './operations/missed-in-pause.ts';
import { MOST_ITEMS } from './operations/operation-store.ts';
import type { PauseRequest, ResumeRequest } from './operations/pause-document.ts';
import { writePauses } from './operations/pauses.ts';
import { catchUpAfterPause, type Resumed } from './operations/resume.ts';
import { createScheduleStatus, type ScheduleStatus, type TaskQueueBacklog } from './schedules-status.ts';
import { durationMs } from './time/duration.ts';
import { formatInstant, instantSchema } from './time/instant.ts';
import { MOST_PREVIEWED, type Preview, type PreviewWarning, previewSchedule } from './time/preview.ts';
import { type Schedule, scheduleSchema } from './time/schedule-document.ts';

/** A job's schedule as GET returns it. */
export type ScheduleView = {
  jobId: string;
  jobName: string;
  generation: number;
  state: JobState;
  /** Null: on demand only. */
  schedule: Schedule | null;
  sync: Sync;
  pause: Pause | null;
  /** Due times in UTC, without the job's own offset. */
  nextRunAt: string | null;
  nextRuns: string[];
  /** When the next run begins: its due time and the job's own offset. */
  nextStartAt: string | null;
  /** The freeze that holds it now; null: none does. */
  frozen?: Frozen | null;
  /** What the job adds to each slot, from its jitter or spread, e.g. `12s`. */
  jitterOffset: string | null;
  warnings: PreviewWarning[];
  /** Only in the answer to a resume. */
  resumed?: Resumed;
};

/** Body of a preview. */
export const previewSchema = strictShape(
  {
    schedule: scheduleSchema,
    count: z.int({ error: 'must be a whole number from 1 to 1000' }).min(1).max(MOST_PREVIEWED).default(5),
    from: instantSchema.optional().meta({ description: 'Runs after this time; default now' }),
  },
  'schedule, and optionally count and from',
).meta({ id: 'SchedulePreviewRequest' });

export type SchedulesDeps = { pool: Pool; jobs: Jobs; taskQueueBacklog?: TaskQueueBacklog | undefined };

export function createSchedules({ pool, jobs, taskQueueBacklog }: SchedulesDeps) {
  const status = createScheduleStatus({ pool, taskQueueBacklog });

  const backfills = createBackfills({ pool });

  const written = ({ value, generation }: Written<JobView>): Written<ScheduleView> => ({ value: scheduleView(value), generation });
  /** The idempotent answer is made of the schedule, not of the job it is part of. */
  const rendering = (options: WriteOptions, more: () => Partial<ScheduleView> = () => ({})): WriteOptions => {
    const { idempotency } = options;
    if (!idempotency) return options;
    return {
      ...options,
      idempotency: { ...idempotency, render: (view) => idempotency.render({ ...scheduleView(view as JobView), ...more() }) },
    };
  };

  /** The locked job with another pause, in the same generation. */
  async function setPause(caller: Caller, idOrName: string, options: WriteOptions, pauseOf: (locked: Locked) => Pause | undefined) {
    const result = await jobs.withLocked(caller, idOrName, rendering(options), async (tx, locked) => {
      const { job, at } = locked;
      const pause = pauseOf(locked);
      if (pause === undefined) return { job, effects: NO_EFFECTS };
      const [paused] = await writePauses(tx, caller, [{ job, pause }], at);
      return { job: paused!.job, effects: { ...NO_EFFECTS, clocks: paused!.clocks } };
    });
    return written(result);
  }

  return {
    async get(caller: Caller, idOrName: string): Promise<Written<ScheduleView>> {
      const value = await jobs.get(caller, idOrName);
      return { value: scheduleView(value), generation: value.generation };
    },

    /** Replaces the schedule of a job (a new generation). Paths of errors are those of the `schedule` block itself. */
    async replace(caller: Caller, idOrName: string, body: unknown, options: WriteOptions = {}): Promise<Written<ScheduleView>> {
      const schedule = parse(scheduleSchema, body, 'schedule');
      return written(
        await jobs.change(caller, idOrName, rendering(options), ({ job }) => withSchedule(job, schedule)).catch(fromScheduleBlock),
      );
    },

    /** Takes the schedule away: the job runs on demand only. */
    async remove(caller: Caller, idOrName: string, options: WriteOptions = {}): Promise<Written<ScheduleView>> {
      return written(await jobs.change(caller, idOrName, options, ({ job }) => withSchedule(job, undefined)));
    },

    /** Stops slots from starting. Pausing again changes its terms; the pause goes on from where it began. @throws JobError `invalid` for an end that has passed */
    pause: (caller: Caller, idOrName: string, request: PauseRequest, options: WriteOptions = {}): Promise<Written<ScheduleView>> =>
      setPause(caller, idOrName, options, ({ job, at }) => {
        const { reason = null, blockManual = false, until = null } = request;
        refusePastEnd(until, at);
        const { pause } = job;
        if (pause && !pause.automatic && pause.reason === reason && pause.blockManual === blockManual && (pause.until ?? null) === until)
          return undefined;
        return { reason, by: caller.name, at: pause?.at ?? at.toISOString(), blockManual, automatic: false, until };
      }),

    /**
     * Lets slots start again from now on, and says how many were missed; those that are asked for run as a backfill. Resuming a job that is not paused changes nothing.
     * @throws JobError `invalid` when there is too much to catch up with; `refused` when a disabled job is to catch up.
     */
    async resume(
      caller: Caller,
      idOrName: string,
      request: ResumeRequest = {},
      options: WriteOptions = {},
    ): Promise<Written<ScheduleView>> {
      const { catchUp: policy = 'none', order = 'oldest', ratePerMinute = null, dryRun = false } = request;
      let resumed: Resumed | undefined;
      const result = await jobs.withLocked(
        caller,
        idOrName,
        rendering(options, () => ({ resumed: resumed! })),
        async (tx, { job, at }) => {
          const missed = await missedInPauses(tx, job.team, job.pause ? [job.id] : [], () => at, MOST_ITEMS);
          const ofJob = missed.get(job.id) ?? { ended: [], slots: [] };
          resumed = await catchUpAfterPause(tx, backfills, caller, job, ofJob, { policy, order, ratePerMinute }, dryRun);
          if (dryRun || !job.pause) return { job, effects: NO_EFFECTS };
          const [awake] = await writePauses(tx, caller, [{ job, pause: null }], at, missed);
          return { job: awake!.job, effects: { ...NO_EFFECTS, clocks: awake!.clocks } };
        },
      );
      const { value, generation } = written(result);
      return { value: { ...value, resumed: resumed! }, generation };
    },

    /** The next times of a schedule before it is saved, by the same code that checks and fires it. */
    async preview({ team }: Pick<Caller, 'team'>, body: unknown): Promise<Preview> {
      const { schedule: written, count, from: after } = parse(previewSchema, body, 'preview');
      const unknown = (await unknownCalendars(pool, team, [{ schedule: written }])).get(0);
      if (unknown) throw invalidBody('preview', unknown);
      const { schedule } = await withHolidayDates(pool, team, { schedule: written });
      const from = after === undefined ? new Date() : new Date(after);
      return previewSchedule(schedule, { from, count, rules: await stopRules(pool, team, schedule, from) });
    },

    /** How the whole scheduler is doing, for the caller's team. */
    status: (caller: Caller): Promise<ScheduleStatus> => status(caller.team),
  };
}

export type Schedules = ReturnType<typeof createSchedules>;

/** Keeps the order of keys that a parsed document has, so that the same schedule gives the same text. */
function withSchedule({ document }: StoredJob, schedule: Schedule | undefined): StoredJob['document'] {
  const { schedule: _former, overlap, catchUp, target, timeout, deadline, retry, pauseAfterFailures, expect, ...head } = document;
  return {
    ...head,
    ...(schedule === undefined ? {} : { schedule }),
    overlap,
    catchUp,
    target,
    timeout,
    ...(deadline === undefined ? {} : { deadline }),
    retry,
    ...(pauseAfterFailures === undefined ? {} : { pauseAfterFailures }),
    ...(expect === undefined ? {} : { expect }),
  };
}

export function refusePastEnd(until: string | null, at: Date): void {
  if (until === null || new Date(until) > at) return;
  const message = `${until} has passed; write a later time, or leave it out`;
  throw new JobError('invalid', 'invalid_pause', `The pause is not valid: /until ${message}.`, {
    errors: [{ path: '/until', message, code: 'in_the_past' }],
  });
}

function scheduleView(job: JobView): ScheduleView {
  const schedule = job.schedule ?? null;
  const preview = schedule && previewSchedule(schedule, { jobId: job.id, from: new Date(), count: 5, createdAt: new Date(job.createdAt) });
  return {
    jobId: job.id,
    jobName: job.name,
    generation: job.generation,
    state: job.state,
    schedule,
    sync: job.sync,
    pause: job.pause,
    nextRunAt: job.nextRunAt,
    nextRuns: job.nextRuns,
    nextStartAt: job.nextRunAt && formatInstant(new Date(Date.parse(job.nextRunAt) + durationMs(preview?.jitterOffset ?? '0s'))),
    ...(job.frozen === undefined ? {} : { frozen: job.frozen }),
    jitterOffset: preview?.jitterOffset ?? null,
    warnings: job.state === 'active' && schedule?.at === undefined && schedule?.delay === undefined ? (preview?.warnings ?? []) : [],
  };
}

function parse<Schema extends z.ZodType>(schema: Schema, body: unknown, what: string): z.output<Schema> {
  const unstorable = jsonProblem(body);
  const parsed = unstorable ? null : schema.safeParse(body);
  if (parsed?.success) return parsed.data;
  throw invalidBody(what, unstorable ? [{ ...unstorable, code: 'invalid' }] : documentIssues(parsed!.error!));
}

function invalidBody(what: string, errors: FieldError[]): JobError {
  const first = errors[0]!;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new JobError('invalid', `invalid_${what}`, `The ${what} is not valid: ${first.path || 'body'}: ${first.message}${more}.`, {
    errors,
  });
}

/** An error found in the whole document, said of the block that was sent. */
function fromScheduleBlock(error: unknown): never {
  if (!(error instanceof JobError) || error.kind !== 'invalid' || !error.errors?.every((each) => each.path.startsWith('/schedule')))
    throw error;
  const errors = error.errors.map((each) => ({ ...each, path: each.path.slice('/schedule'.length) }));
  throw new JobError('invalid', 'invalid_schedule', error.message.replace('The job', 'The schedule').replace('/schedule', ''), { errors });
}
