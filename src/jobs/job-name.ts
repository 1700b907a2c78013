/** Names: for people, of any script, unique in their team; ids are for machines and can't be mistaken for names. */
import { z } from 'zod';

const LONGEST = 200;

/** What is wrong with a job's name, or null. */
export function nameProblem(name: string): string | null {
  const length = [...name].length;
  if (length === 0) return 'must not be empty; give the job a name, 1 to 200 characters';
  if (length > LONGEST) return `has ${length} characters; at most ${LONGEST}`;
  if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(name)) return 'must not hold control characters or line breaks';
  if (!name.isWellFormed()) return 'holds half of a surrogate pair; send well-formed Unicode';
  if (name.trim() !== name) return `must not begin or end with a blank; write ${JSON.stringify(name.trim())}`;
  if (/^job_/i.test(name)) return 'must not begin with "job_", which marks ids';
  if (name === '.' || name === '..') return 'must not be "." or "..", which no address can hold';
  return null;
}

/** A job's name; its output is in Unicode normal form C, so that what looks the same is the same. */
export const nameSchema = z
  .string({ error: (issue) => (issue.input === undefined ? 'name is required' : 'must be a string') })
  .check((payload) => {
    const problem = nameProblem(payload.value);
    if (problem) payload.issues.push({ code: 'custom', message: problem, input: payload.value, continue: true });
    else payload.value = payload.value.normalize('NFC');
  })
  .meta({
    description: 'Unique in its team; 1 to 200 characters of any script, without control characters; may not begin with "job_"',
    example: 'nightly-invoices',
  });

/** Name of a registered service: fit for a path. */
export const serviceNameSchema = z
  .string({ error: (issue) => (issue.input === undefined ? 'name is required' : 'must be a string') })
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
    'must be 1 to 100 letters, digits, dots, dashes or underscores, beginning with a letter or digit',
  )
  .refine((name) => !/^svc_/i.test(name), 'must not begin with "svc_", which marks ids')
  .meta({ description: 'Name of a registered service', example: 'invoicing' });
