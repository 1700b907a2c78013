/** Use cases on schedules: the part of a job that says when, its pause, previews, and how the whole scheduler is doing. */
import { z } from 'zod';
import type { Pool, Transaction } from '../postgres.ts';
import { auditInsert } from './audit.ts';
import type { Caller } from './caller.ts';
import { JobError } from './errors.ts';
import { NO_EFFECTS } from './job-change.ts';
import { desiredClock } from './job-clock-change.ts';
import { clockShow, clockWake, pausedRangeOpen, pausedRangesClose, type RaisedClock } from './job-clock-store.ts';
import { factsOf, type JobState, stateOf, upcomingSlots } from './job-facts.ts';
import { documentIssues, strictShape } from './job-issues.ts';
import { jsonProblem } from './job-json.ts';
import { onceFindPending } from './job-once-store.ts';
import type { Pause, StoredJob, Sync } from './job-store.ts';
import type { JobView } from './job-view.ts';
import { jobWritePause } from './job-write-store.ts';
import type { Jobs, Locked, WriteOptions, Written } from './jobs.ts';
import { createScheduleStatus, type ScheduleStatus, type TaskQueueBacklog } from './schedules-status.ts';
import { instantSchema } from './time/instant.ts';
import { type Preview, type PreviewWarning, previewSchedule } from './time/preview.ts';
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
  /** What the job adds to each slot, from its jitter, e.g. `12s`. */
  jitterOffset: string | null;
  warnings: PreviewWarning[];
};

/** Body of a pause. */
export const pauseSchema = strictShape(
  {
    reason: z.string({ error: 'must be a string' }).max(1_000, 'has more than 1,000 characters').optional(),
    blockManual: z
      .boolean({ error: 'must be true or false' })
      .default(false)
      .meta({ description: 'Refuses triggers, retries and backfills as well' }),
  },
  'reason and blockManual, both optional',
).meta({ id: 'Pause' });
export type PauseRequest = z.input<typeof pauseSchema>;

/** Body of a preview. */
export const previewSchema = strictShape(
  {
    schedule: scheduleSchema,
    count: z.int({ error: 'must be a whole number from 1 to 100' }).min(1).max(100).default(5),
    from: instantSchema.optional().meta({ description: 'Runs after this time; default now' }),
  },
  'schedule, and optionally count and from',
).meta({ id: 'SchedulePreviewRequest' });

export type SchedulesDeps = { pool: Pool; jobs: Jobs; taskQueueBacklog?: TaskQueueBacklog | undefined };

export function createSchedules({ pool, jobs, taskQueueBacklog }: SchedulesDeps) {
  const status = createScheduleStatus({ pool, taskQueueBacklog });

  const written = ({ value, generation }: Written<JobView>): Written<ScheduleView> => ({ value: scheduleView(value), generation });
  /** The idempotent answer is made of the schedule, not of the job it is part of. */
  const rendering = (options: WriteOptions): WriteOptions => {
    const { idempotency } = options;
    if (!idempotency) return options;
    return { ...options, idempotency: { ...idempotency, render: (view) => idempotency.render(scheduleView(view as JobView)) } };
  };

  /** The locked job with another pause, in the same generation. */
  async function setPause(caller: Caller, idOrName: string, options: WriteOptions, pauseOf: (locked: Locked) => Pause | null | undefined) {
    const result = await jobs.withLocked(caller, idOrName, rendering(options), async (tx, locked) => {
      const { job, at } = locked;
      const pause = pauseOf(locked);
      if (pause === undefined) return { job, effects: NO_EFFECTS };
      const facts = factsOf(job.document, job.id, job.createdAt, () => job.queue);
      const next =
        facts.kind === 'once' ? ((await onceFindPending(tx, job.team, job.id))?.dueAt ?? null) : (upcomingSlots(facts, at, 1)[0] ?? null);
      const state = stateOf(facts.kind, { enabled: job.document.enabled, paused: pause !== null, hasNextRun: next !== null });
      const changed: StoredJob = { ...job, pause, state, nextRunAt: state === 'active' ? next : null, updatedAt: at };
      await jobWritePause(tx, changed);
      if (pause && !job.pause) await pausedRangeOpen(tx, job.team, job.id, at, pause.by, pause.reason);
      if (!pause) await pausedRangesClose(tx, job.team, job.id, at);
      await auditInsert(tx, caller, {
        action: pause ? 'job.paused' : 'job.resumed',
        subjectKind: 'job',
        subjectId: job.id,
        before: { state: job.state, pause: job.pause },
        after: { state, pause },
      });
      const turned = (pause === null) !== (job.pause === null);
      const shown = turned && job.clockHeld ? await showPause(tx, changed, next) : null;
      if (!shown) return { job: changed, effects: NO_EFFECTS };
      const clocks = [desiredClock(job.clockId!, changed, facts, shown)];
      return { job: { ...changed, sync: 'pending' as const }, effects: { ...NO_EFFECTS, clocks } };
    });
    return written(result);
  }

  /** Its own clock shows the pause. One that it shares goes on for the others, and rests only when the controller finds all of them paused. */
  async function showPause(tx: Transaction, { team, id, clockId, pause }: StoredJob, next: Date | null): Promise<RaisedClock | null> {
    if (clockId === id) return clockShow(tx, team, id, pause !== null, next);
    return pause === null ? clockWake(tx, team, clockId!, next) : null;
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

    /** Stops slots from starting. Pausing again changes reason and blockManual; the pause goes on from where it began. */
    pause: (caller: Caller, idOrName: string, request: PauseRequest, options: WriteOptions = {}): Promise<Written<ScheduleView>> =>
      setPause(caller, idOrName, options, ({ job, at }) => {
        const { reason = null, blockManual = false } = request;
        if (job.pause && !job.pause.automatic && job.pause.reason === reason && job.pause.blockManual === blockManual) return undefined;
        return { reason, by: caller.name, at: job.pause?.at ?? at.toISOString(), blockManual, automatic: false };
      }),

    /** Lets slots start again from now on. Resuming a job that is not paused changes nothing. */
    resume: (caller: Caller, idOrName: string, options: WriteOptions = {}): Promise<Written<ScheduleView>> =>
      setPause(caller, idOrName, options, ({ job }) => (job.pause ? null : undefined)),

    /** The next times of a schedule before it is saved, by the same code that checks and fires it. */
    preview(body: unknown): Preview {
      const { schedule, count, from } = parse(previewSchema, body, 'preview');
      return previewSchedule(schedule, { from: from === undefined ? new Date() : new Date(from), count });
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
    jitterOffset: preview?.jitterOffset ?? null,
    warnings: job.state === 'active' && schedule?.at === undefined && schedule?.delay === undefined ? (preview?.warnings ?? []) : [],
  };
}

function parse<Schema extends z.ZodType>(schema: Schema, body: unknown, what: string): z.output<Schema> {
  const unstorable = jsonProblem(body);
  const parsed = unstorable ? null : schema.safeParse(body);
  if (parsed?.success) return parsed.data;
  const errors = unstorable ? [{ ...unstorable, code: 'invalid' }] : documentIssues(parsed!.error!);
  const first = errors[0]!;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  throw new JobError('invalid', `invalid_${what}`, `The ${what} is not valid: ${first.path || 'body'}: ${first.message}${more}.`, {
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
