/** Bodies of actions (pause, trigger, retry): small, strict, and all of them optional. */
import type { z } from 'zod';
import { JobError } from '../jobs/errors.ts';
import { documentIssues } from '../jobs/job-issues.ts';

/** The parsed body; none means all defaults. @throws JobError `invalid` naming each place. */
export function parseActionBody<Schema extends z.ZodType>(schema: Schema, body: unknown, action: string): z.output<Schema> {
  const parsed = schema.safeParse(body === undefined ? {} : body);
  if (parsed.success) return parsed.data;
  const errors = documentIssues(parsed.error);
  const [first] = errors;
  throw new JobError('invalid', `invalid_${action}`, `The ${action} is not valid: ${first?.path || 'body'}: ${first?.message}.`, {
    errors,
  });
}
