/** Items that delete or change a job: each as if it were asked for by itself, many of them in one transaction. */
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import type { ExecutionStart } from '../execution-store.ts';
import { changeJob, type Effects } from '../job-change.ts';
import { type JobDocument, jobDocumentSchema } from '../job-document.ts';
import type { QueueOf } from '../job-facts.ts';
import { documentIssues } from '../job-issues.ts';
import { sameJson } from '../job-json.ts';
import { removeJob } from '../job-removal.ts';
import { jobsLock, type StoredJob } from '../job-store.ts';
import { actorOf, jobGone } from './apply-pauses.ts';
import type { Applied, Apply } from './operation-runner.ts';
import type { ItemOutcome, OperationRow } from './operation-store.ts';

export type DeleteParams = { running: 'cancel' | null };
/** `category` null takes it away; absent members stay as they are. */
export type ChangeParams = { priority?: number; category?: string | null; tags?: { set?: Record<string, string>; remove?: string[] } };

export type DefinitionDeps = {
  queueOf: QueueOf;
  startSoon: (row: ExecutionStart | null) => void;
  /** Tells the controller that clocks wait for it. */
  toldLater: () => void;
  /** Ends a workflow that has nothing left to do, best effort. */
  stopSoon: (workflowId: string) => void;
};

export function createApplyDefinitions(deps: DefinitionDeps): { applyDelete: Apply; applyChange: Apply } {
  /** One by one under all their locks; a refused one is refused before it has written anything. */
  const each =
    (
      write: (
        tx: Parameters<Apply>[0],
        caller: Caller,
        operation: OperationRow,
        job: StoredJob,
        at: Date,
      ) => Promise<Effects | 'unchanged'>,
    ): Apply =>
    async (tx, operation, items): Promise<Applied> => {
      const caller: Caller = { ...actorOf(operation), holder: operation.id, role: 'admin' };
      const { jobs, at } = await jobsLock(
        tx,
        operation.team,
        items.map((item) => item.job_id),
      );
      const effects: Effects[] = [];
      const outcomes: ItemOutcome[] = [];
      for (const { position, job_id: id } of items) {
        const job = jobs.get(id);
        if (!job) outcomes.push(jobGone(position));
        else {
          try {
            const written = await write(tx, caller, operation, job, at);
            if (written === 'unchanged') outcomes.push({ position, result: 'unchanged', message: 'it is so already' });
            else {
              effects.push(written);
              outcomes.push({ position, result: 'succeeded' });
            }
          } catch (error) {
            if (!(error instanceof JobError)) throw error;
            outcomes.push({ position, result: 'refused', code: error.code, message: error.message });
          }
        }
      }
      return { outcomes, after: () => bringAbout(effects) };
    };

  function bringAbout(effects: readonly Effects[]): void {
    if (effects.some(({ clocks }) => clocks.length > 0)) deps.toldLater();
    for (const { start, stale } of effects) {
      deps.startSoon(start);
      for (const workflowId of stale) deps.stopSoon(workflowId);
    }
  }

  const applyDelete = each(async (tx, caller, operation, job, at) => {
    const { running } = operation.params as DeleteParams;
    return (await removeJob(tx, caller, job, at, running === 'cancel')).effects;
  });

  const applyChange = each(async (tx, caller, operation, job, at) => {
    const document = changedDocument(job.document, operation.params as ChangeParams);
    if (sameJson(document, job.document)) return 'unchanged';
    return (await changeJob(tx, caller, job, document, at, deps.queueOf)).effects;
  });

  return { applyDelete, applyChange };
}

/** @throws JobError `invalid` when the whole is no job any more, e.g. with too many tags. */
function changedDocument(document: JobDocument, { priority, category, tags }: ChangeParams): JobDocument {
  const { category: former, ...rest } = document;
  const kept = Object.entries(document.tags).filter(([name]) => !tags?.remove?.includes(name));
  const next = category === undefined ? former : (category ?? undefined);
  const parsed = jobDocumentSchema.safeParse({
    ...rest,
    ...(next === undefined ? {} : { category: next }),
    ...(priority === undefined ? {} : { priority }),
    tags: { ...Object.fromEntries(kept), ...tags?.set },
  });
  // a stored document has a team, and this one has it still
  if (parsed.success) return parsed.data as JobDocument;
  const errors = documentIssues(parsed.error);
  throw new JobError('invalid', 'invalid_job', `The job would not be valid: ${errors[0]?.path} ${errors[0]?.message}.`, { errors });
}
