/** The body of a trigger: nothing, one input, or thousands of them. */
import { z } from 'zod';
import { type FieldError, JobError } from '../jobs/errors.ts';
import { EXECUTION_STATUSES } from '../jobs/execution-view.ts';
import { strictShape } from '../jobs/job-issues.ts';
import { durationMs, durationSchema } from '../jobs/time/duration.ts';
import type { TriggerWishes } from '../jobs/trigger-wishes.ts';
import { parseActionBody } from './action-body.ts';

const LONGEST_TIMEOUT_MS = 7 * 86_400_000;
const MOST_INPUTS = 10_000;
/** Wrong places that are named; thousands help nobody. */
const MOST_ERRORS = 20;

export const triggerSchema = strictShape(
  {
    input: z.unknown().optional().meta({ description: "Given to the target instead of the job's input; any JSON" }),
    inputs: z
      .array(z.unknown(), { error: 'must be a list of inputs' })
      .min(1, 'must have at least one input')
      .max(MOST_INPUTS, `has more than ${MOST_INPUTS} inputs; send several requests`)
      .optional()
      .meta({
        description:
          "One execution for each, all of them or none; instead of `input`. The job's `overlap` decides about them in their order: with `skip` (the default) the first may run and the others are skipped, so a job that takes many inputs wants `allow_all` or `buffer_all`",
      }),
    timeout: durationSchema.optional().meta({ description: "One attempt; default: the job's" }),
    priority: z
      .int({ error: 'must be a whole number from 1 (most urgent) to 5' })
      .min(1, 'must be at least 1')
      .max(5, 'must be at most 5')
      .optional()
      .meta({ description: "1 is the most urgent; default: the job's" }),
    queue: z
      .string({ error: 'must be the name of a queue' })
      .max(100, 'has more than 100 characters')
      .optional()
      .meta({ description: "Whose workers run it; one of those that categories are sent to, or `default`; default: the job's" }),
    label: z
      .string({ error: 'must be a string' })
      .trim()
      .min(1, 'must not be empty; leave it out')
      .max(200, 'has more than 200 characters')
      .optional()
      .meta({ description: 'What for; shown with the execution' }),
  },
  'input or inputs, timeout, priority, queue and label, all optional',
).meta({ id: 'Trigger' });

/** The short answer to `inputs`. */
export const acceptedBatchSchema = z
  .object({
    accepted: z.int().meta({ description: 'Executions that run or wait' }),
    skipped: z.int().meta({ description: 'Executions that do not, as the overlap policy says; `reason` says why' }),
    items: z
      .array(z.object({ id: z.string(), status: z.enum(EXECUTION_STATUSES), reason: z.string().nullable() }))
      .meta({ description: 'In the order of the inputs' }),
  })
  .meta({ id: 'AcceptedBatch' });

export type TriggerBody = TriggerWishes & { input: unknown; hasInput: boolean; inputs: unknown[] | undefined };

/** @throws JobError `invalid` naming each place. */
export function triggerOf(body: unknown, inputLimitBytes: number): TriggerBody {
  const { input, inputs, timeout, priority, queue, label } = parseActionBody(triggerSchema, body, 'trigger');
  const hasInput = input !== undefined;
  const errors: FieldError[] = [];
  const check = (value: unknown, path: string): void => {
    const bytes = Buffer.byteLength(JSON.stringify(value));
    if (bytes > inputLimitBytes)
      errors.push({ path, message: `has ${bytes} bytes as JSON, at most ${inputLimitBytes}`, code: 'too_large' });
  };
  if (hasInput) check(input, '/input');
  if (hasInput && inputs)
    errors.push({ path: '/inputs', message: 'cannot be given together with input; give one of them', code: 'not_both' });
  for (let nth = 0; inputs && nth < inputs.length && errors.length < MOST_ERRORS; nth++) check(inputs[nth], `/inputs/${nth}`);
  const timeoutMs = timeout === undefined ? undefined : durationMs(timeout);
  if (timeoutMs !== undefined && (timeoutMs < 100 || timeoutMs > LONGEST_TIMEOUT_MS))
    errors.push({ path: '/timeout', message: `${timeout} is out of range; write 100ms to 7d`, code: 'out_of_range' });
  if (errors.length > 0)
    throw new JobError('invalid', 'invalid_trigger', `The trigger is not valid: ${errors[0]?.path} ${errors[0]?.message}.`, { errors });
  return { input, hasInput, inputs, timeoutMs, priority, queue, label };
}
