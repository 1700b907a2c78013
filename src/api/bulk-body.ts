/** The body of a bulk operation: what is done, to what, and how. Each action has its own options; what an action does not know is refused. */
import { z } from 'zod';
import { type FieldError, JobError } from '../jobs/errors.ts';
import { isJobId, jobIdOf } from '../jobs/ids.ts';
import { jobDocumentSchema } from '../jobs/job-document.ts';
import { choice, strictShape } from '../jobs/job-issues.ts';
import { dryRunSchema, ratePerMinuteSchema, reasonSchema } from '../jobs/operations/backfill-document.ts';
import { BULK_ACTIONS, type BulkAction } from '../jobs/operations/operation-store.ts';
import type { BulkRequest } from '../jobs/operations/operations.ts';
import { blockManualSchema, catchUpSchema, untilSchema } from '../jobs/operations/pause-document.ts';
import type { Selection } from '../jobs/operations/selection.ts';
import { parseActionBody } from './action-body.ts';
import { executionFilters } from './routes-executions.ts';
import { jobFilters } from './routes-jobs.ts';
import { triggerOf, triggerSchema } from './trigger-body.ts';

const MOST_IDS = 10_000;
const MOST_REMOVED_TAGS = 50;

const { state, team: _team, priority: _priority, ...otherJobFilters } = jobFilters;
const jobFilterSchema = strictShape(
  {
    all: z
      .literal(true, { error: 'must be true; write the other filters without it' })
      .optional()
      .meta({ description: 'Every job: to be said when there is no other filter' }),
    state: state.unwrap().exclude(['deleting']).optional(),
    priority: z.int({ error: 'must be a whole number from 1 to 5' }).min(1).max(5).optional(),
    ...otherJobFilters,
  },
  'the filters of the list of jobs',
);
const executionFilterSchema = strictShape(
  {
    all: z
      .literal(true, { error: 'must be true; write the other filters without it' })
      .optional()
      .meta({ description: 'Every execution that the action fits' }),
    jobId: z.string().max(200).optional(),
    q: z.string().max(200).optional(),
    ...executionFilters,
  },
  'the filters of the list of executions',
);

const idsOf = (what: string, isId: (text: string) => boolean) =>
  z
    .array(z.string({ error: `must be the id of ${what}` }).refine(isId, { error: `is not the id of ${what}; names do not do here` }), {
      error: 'must be a list of ids',
    })
    .min(1, 'must name at least one')
    .max(MOST_IDS, `names more than ${MOST_IDS}; use a filter, or several operations`);

const selectionOf = <Filter extends z.ZodObject>(what: string, isId: (text: string) => boolean, filter: Filter) =>
  strictShape({ ids: idsOf(what, isId).optional(), filter: filter.optional() }, 'either ids or filter').superRefine(
    (selection, context) => {
      if ((selection.ids === undefined) === (selection.filter === undefined))
        context.addIssue({ code: 'custom', message: 'must have either ids or filter' });
      const given = Object.values((selection.filter ?? {}) as object).filter((value) => value !== undefined);
      if (selection.filter && 'all' in selection.filter && selection.filter.all !== undefined && given.length > 1)
        context.addIssue({
          code: 'custom',
          path: ['filter', 'all'],
          message: 'says that everything is meant; write the other filters without it',
        });
      if (selection.filter !== undefined && given.length === 0)
        context.addIssue({
          code: 'custom',
          path: ['filter'],
          message: 'is empty and would match everything; write {"all": true} when that is meant',
        });
    },
  );
const jobsSchema = selectionOf('a job', isJobId, jobFilterSchema);
const executionsSchema = selectionOf('an execution', (text) => jobIdOf(text) !== null, executionFilterSchema);

const common = { reason: reasonSchema.optional(), ratePerMinute: ratePerMinuteSchema.optional(), dryRun: dryRunSchema };
const ofJobs = { jobs: jobsSchema, ...common };
const ofExecutions = { executions: executionsSchema, ...common };
const { priority, category, tags } = jobDocumentSchema.shape;
const { inputs: _inputs, ...wishes } = triggerSchema.shape;

const SHAPES = {
  pause: strictShape(
    { action: z.literal('pause'), ...ofJobs, blockManual: blockManualSchema, until: untilSchema.optional() },
    'jobs and options',
  ),
  resume: strictShape(
    { action: z.literal('resume'), ...ofJobs, catchUp: catchUpSchema, order: choice(['oldest', 'newest']).default('oldest') },
    'jobs and options',
  ),
  trigger: strictShape({ action: z.literal('trigger'), ...ofJobs, ...wishes }, 'jobs and options'),
  delete: strictShape({ action: z.literal('delete'), ...ofJobs, running: choice(['cancel']).optional() }, 'jobs and options'),
  change: strictShape(
    {
      action: z.literal('change'),
      ...ofJobs,
      priority: priority.unwrap().optional(),
      category: category.unwrap().nullable().optional().meta({ description: 'null takes it away' }),
      tags: strictShape(
        { set: tags.unwrap().optional(), remove: z.array(z.string().max(100)).max(MOST_REMOVED_TAGS).optional() },
        'set and remove',
      ).optional(),
    },
    'jobs and what changes',
  ),
  retry: strictShape(
    { action: z.literal('retry'), ...ofExecutions, definition: choice(['current', 'original']).default('current') },
    'executions and options',
  ),
  cancel: strictShape({ action: z.literal('cancel'), ...ofExecutions }, 'executions and options'),
  terminate: strictShape({ action: z.literal('terminate'), ...ofExecutions }, 'executions and options'),
} satisfies Record<BulkAction, z.ZodObject>;
type Bodies = { [Action in BulkAction]: z.output<(typeof SHAPES)[Action]> };

const actionSchema = z.looseObject(
  { action: choice(BULK_ACTIONS) },
  { error: 'must be an object: action, jobs or executions, and options' },
);
/** For the documentation: one shape per action. */
export const bulkSchema = z.union(Object.values(SHAPES)).meta({ id: 'BulkOperationRequest' });

export type BulkBody = { request: BulkRequest; dryRun: boolean };

/** @throws JobError `invalid` naming each place. */
export function bulkOf(body: unknown, inputLimitBytes: number): BulkBody {
  const { action } = parseActionBody(actionSchema, body, 'operation');
  const parsed = parseActionBody(SHAPES[action] as z.ZodType<Bodies[BulkAction]>, body, 'operation');
  const { reason = null, ratePerMinute = null, dryRun } = parsed;
  return { request: { action, selection: selectedBy(parsed), params: paramsOf(parsed, inputLimitBytes), reason, ratePerMinute }, dryRun };
}

function selectedBy(body: Bodies[BulkAction]): Selection {
  if ('jobs' in body) {
    const { ids, filter: { all: _all, ...filter } = {} } = body.jobs;
    return ids ? { of: 'jobs', ids } : { of: 'jobs', filter };
  }
  const { ids, filter: { all: _all, from, to, ...filter } = {} } = body.executions;
  if (ids) return { of: 'executions', ids };
  return {
    of: 'executions',
    filter: { ...filter, from: from === undefined ? undefined : new Date(from), to: to === undefined ? undefined : new Date(to) },
  };
}

function paramsOf(body: Bodies[BulkAction], inputLimitBytes: number): unknown {
  switch (body.action) {
    case 'pause':
      if (body.until !== undefined && Date.parse(body.until) <= Date.now())
        throw wrong('/until', `${body.until} has passed; write a later time, or leave it out`, 'in_the_past');
      return { blockManual: body.blockManual, until: body.until ?? null };
    case 'resume':
      return { policy: body.catchUp, order: body.order, ratePerMinute: null };
    case 'trigger': {
      const { input, timeout, priority: rank, queue, label } = body;
      const given = Object.entries({ input, timeout, priority: rank, queue, label }).filter(([, value]) => value !== undefined);
      const { inputs: _none, ...trigger } = triggerOf(Object.fromEntries(given), inputLimitBytes);
      return trigger;
    }
    case 'delete':
      return { running: body.running ?? null };
    case 'change': {
      const { priority: rank, category: kind, tags: labels } = body;
      if (rank === undefined && kind === undefined && !Object.keys(labels?.set ?? {}).length && !labels?.remove?.length)
        throw wrong('', 'changes nothing; give priority, category or tags', 'nothing_to_change');
      const both = labels?.remove?.find((name) => Object.hasOwn(labels.set ?? {}, name));
      if (both !== undefined)
        throw wrong('/tags/remove', `names ${JSON.stringify(both)}, which is in set too; keep one of them`, 'not_both');
      return {
        ...(rank === undefined ? {} : { priority: rank }),
        ...(kind === undefined ? {} : { category: kind }),
        ...(labels ? { tags: labels } : {}),
      };
    }
    case 'retry':
      return { definition: body.definition };
    default:
      return {};
  }
}

function wrong(path: string, message: string, code: string): JobError {
  const errors: FieldError[] = [{ path, message, code }];
  return new JobError('invalid', 'invalid_operation', `The operation is not valid: ${path || 'body'}: ${message}.`, { errors });
}
