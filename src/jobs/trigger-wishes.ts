/** What a trigger wants otherwise than its job says. */
import type { Config } from '../config.ts';
import { JobError } from './errors.ts';
import { queueNames } from './job-facts.ts';

export type TriggerWishes = {
  timeoutMs?: number | undefined;
  priority?: number | undefined;
  /** One of the queues that work may be sent to. */
  queue?: string | undefined;
  /** What for, in the words of who asks. */
  label?: string | undefined;
};

/** @returns checks wishes, and leaves what belongs to them. It throws JobError `invalid` when there is no such queue. */
export function createTriggerWishes({ CATEGORY_QUEUES }: Pick<Config, 'CATEGORY_QUEUES'>): (asked: TriggerWishes) => TriggerWishes {
  const queues = queueNames(CATEGORY_QUEUES);
  return ({ timeoutMs, priority, queue, label }) => {
    if (queue === undefined || queues.includes(queue)) return { timeoutMs, priority, queue, label };
    const message = `${JSON.stringify(queue)} is not a queue that work may be sent to; write ${queues.join(', ')}`;
    throw new JobError('invalid', 'invalid_trigger', `The trigger is not valid: /queue: ${message}.`, {
      errors: [{ path: '/queue', message, code: 'unknown_queue' }],
    });
  };
}
