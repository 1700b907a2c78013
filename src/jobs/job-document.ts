/**
 * The job document: what POST takes, what is stored, what GET returns. One schema gives validation, types and OpenAPI.
 * Its output is canonical: every default is written down, keys stand in one order, and it parses to itself.
 */
import { z } from 'zod';
import { pooledProblem } from './dispatch-choice.ts';
import { type FieldError, JobError } from './errors.ts';
import { choice, documentIssues, notSupportedYet, strictShape } from './job-issues.ts';
import { isObject, type Json, jsonProblem } from './job-json.ts';
import { nameSchema, serviceNameSchema } from './job-name.ts';
import { notifySchema } from './notifications/notify-rules.ts';
import { type TargetRules, targetSchema } from './target-document.ts';
import { durationMs, durationSchema } from './time/duration.ts';
import { scheduleSchema } from './time/schedule-document.ts';

/** A duration within limits, both ends included. */
const durationWithin = (least: string, most: string) =>
  durationSchema.superRefine((text, context) => {
    const ms = msOrNull(text);
    if (ms !== null && (ms < durationMs(least) || ms > durationMs(most)))
      context.addIssue({ code: 'custom', message: `${text} is out of range; write ${least} to ${most}` });
  });

/** Null for a text whose own issue says already that it is no duration. */
function msOrNull(text: string): number | null {
  try {
    return durationMs(text);
  } catch {
    return null;
  }
}

const wholeNumber = (least: number, most: number) =>
  z
    .int({
      error: (issue) => `must be a whole number from ${least} to ${most}${typeof issue.input === 'string' ? ', without quotes' : ''}`,
    })
    .min(least, `must be at least ${least}`)
    .max(most, `must be at most ${most}`);

const label = (what: string) =>
  z
    .string({ error: 'must be a string' })
    .min(1, 'must not be empty')
    .max(100, 'has more than 100 characters')
    .refine(
      (text) => !/\p{Cc}/u.test(text) && text.trim() === text,
      `${what} must not hold control characters, nor begin or end with a blank`,
    );

const MOST_TAGS = 50;
const tagsSchema = z
  .record(
    z.string(),
    z
      .string({ error: 'must be a string; put quotes around it' })
      .max(200, 'has more than 200 characters')
      .refine((text) => !/\p{Cc}/u.test(text), 'must not hold control characters'),
    { error: 'must be an object of names and texts, e.g. { "env": "prod" }' },
  )
  .superRefine((tags, context) => {
    const keys = Object.keys(tags);
    if (keys.length > MOST_TAGS) context.addIssue({ code: 'custom', message: `has ${keys.length} tags; at most ${MOST_TAGS}` });
    for (const key of keys) {
      if (!/^[^\s\p{Cc}:]{1,100}$/u.test(key))
        context.addIssue({ code: 'custom', path: [key], message: 'a tag is named by 1 to 100 characters without blanks or ":"' });
    }
  })
  .meta({ description: `Names and texts to filter by, at most ${MOST_TAGS}`, example: { env: 'prod' } });

/** What `retry.nonRetryable` may name besides status classes (`4xx`) and statuses (`404`): the types of failed attempts. */
export const RETRY_ERROR_TYPES = [
  'timeout',
  'http_status',
  'network',
  'dns',
  'tls',
  'address_refused',
  'response_too_large',
  'handler',
  'unknown_handler',
  'invalid_input',
] as const;

const nonRetryableSchema = z
  .string()
  .refine((text) => /^[1-5](xx|\d\d)$/.test(text) || (RETRY_ERROR_TYPES as readonly string[]).includes(text), {
    error: (issue) =>
      `${JSON.stringify(String(issue.input).slice(0, 60))} names no failure; write a status class ("4xx"), a status ("404") or one of ${RETRY_ERROR_TYPES.join(', ')}`,
  });

const retrySchema = strictShape(
  {
    maxAttempts: wholeNumber(1, 1_000).default(3).meta({ description: 'Calls at most, the first included; 1: no retry' }),
    initialInterval: durationWithin('100ms', '1d').default('1s'),
    backoffCoefficient: z
      .number({ error: 'must be a number from 1 to 100' })
      .min(1, 'must be at least 1')
      .max(100, 'must be at most 100')
      .default(2),
    maxInterval: durationWithin('100ms', '7d').optional(),
    nonRetryable: z
      .array(nonRetryableSchema)
      .max(50, 'has more than 50 entries')
      .default(['4xx'])
      .meta({ description: 'Failures that end the execution at once; 408, 425 and 429 are retried although they are 4xx' }),
  },
  'maxAttempts, initialInterval, backoffCoefficient, maxInterval, nonRetryable',
)
  .transform(({ maxInterval, nonRetryable, ...rest }, context) => {
    const initialMs = msOrNull(rest.initialInterval) ?? 0;
    // The default must not be refused because of another default's neighbour: it grows with the first interval.
    const most = maxInterval ?? (initialMs > 60_000 ? rest.initialInterval : '1m');
    if ((msOrNull(most) ?? initialMs) < initialMs)
      context.addIssue({
        code: 'custom',
        path: ['maxInterval'],
        message: `maxInterval ${most} is less than initialInterval ${rest.initialInterval}`,
      });
    return { ...rest, maxInterval: most, nonRetryable };
  })
  .meta({ description: 'When a failed attempt is made again' });

const catchUpSchema = strictShape(
  {
    policy: choice(['none', 'last', 'all']).default('last'),
    window: durationWithin('1s', '365d').default('1h').meta({ description: 'Slots older than this are missed' }),
  },
  'policy and window',
).meta({ description: 'What becomes of slots that could not start in time' });

/** `{}` parsed: the defaults of a block that is absent. */
const CATCH_UP_DEFAULT = { policy: 'last', window: '1h' } as const;
const RETRY_DEFAULT = { maxAttempts: 3, initialInterval: '1s', backoffCoefficient: 2, maxInterval: '1m', nonRetryable: ['4xx'] };

/** Schema of the job document. `team` is the caller's when absent; `parseJobDocument` fills it in. */
export const jobDocumentSchema = strictShape(
  {
    name: nameSchema,
    description: z.string({ error: 'must be a string' }).max(5_000, 'has more than 5,000 characters').optional(),
    team: label('team').optional().meta({ description: "Default: the caller's" }),
    service: serviceNameSchema.optional().meta({ description: 'Registered service that owns the job' }),
    category: label('category').optional().meta({ description: 'Routes the job to a queue', example: 'batch' }),
    tags: tagsSchema.default({}),
    dispatch: choice(['auto', 'dedicated', 'pooled']).default('auto').meta({
      description: 'dedicated: a schedule and workflows of its own; pooled: shared with others, for short calls; auto: what suits',
    }),
    priority: wholeNumber(1, 5).default(3).meta({ description: '1 highest … 5' }),
    enabled: z.boolean({ error: 'must be true or false' }).default(true),
    input: z
      .custom<Json>((value) => value !== undefined, 'must be a JSON value')
      .optional()
      .meta({ description: 'Handed to the target; any JSON' }),
    schedule: scheduleSchema.optional(),
    overlap: choice(['skip', 'buffer_one', 'buffer_all', 'cancel_other', 'terminate_other', 'allow_all']).default('skip'),
    catchUp: catchUpSchema.default(CATCH_UP_DEFAULT),
    target: targetSchema,
    timeout: durationWithin('100ms', '7d').default('10s').meta({ description: 'One attempt' }),
    deadline: durationWithin('100ms', '365d').optional().meta({ description: 'The whole execution, retries included; default none' }),
    retry: retrySchema.default(RETRY_DEFAULT),
    pauseAfterFailures: wholeNumber(1, 10_000).optional().meta({ description: 'Pauses the job after so many failed executions in a row' }),
    expect: strictShape({ everyAtMost: durationWithin('10s', '400d') }, 'everyAtMost')
      .optional()
      .meta({ description: 'Told as `missed` when there was no success for this long', example: { everyAtMost: '26h' } }),
    concurrency: notSupportedYet('concurrency'),
    notify: notifySchema.optional(),
  },
  'a job document with name and target',
).meta({ id: 'JobDocument', description: 'A job: what is called, and when' });

/** What people write. */
export type JobDocumentInput = z.input<typeof jobDocumentSchema>;
/** A parsed document: every default filled in, canonical texts. */
export type JobDocument = Omit<z.output<typeof jobDocumentSchema>, 'team' | 'concurrency'> & { team: string };

export type DocumentRules = TargetRules & {
  /** The caller's team. */
  team: string;
  /** Most bytes of `input` as JSON. */
  inputLimitBytes: number;
};

/** Keys that GET adds to the document. They are read-only: PUT takes them back unread, so that what was read can be written. */
export const READ_ONLY_KEYS: readonly string[] =
  'id generation state sync pause createdBy createdAt updatedAt nextRunAt nextRuns frozen lastOutcome lastExecution dispatchChoice'.split(
    ' ',
  );

/**
 * Parses a body into a canonical document.
 * @throws JobError `invalid` naming every wrong place.
 */
export function parseJobDocument(body: unknown, rules: DocumentRules): JobDocument {
  const unstorable = jsonProblem(body);
  if (unstorable) throw invalidJob([{ ...unstorable, code: 'invalid' }]);
  const parsed = jobDocumentSchema.safeParse(body);
  if (!parsed.success) throw invalidJob(documentIssues(parsed.error).map((issue) => readOnlyIssue(issue, body)));
  const { name, description, team = rules.team, ...rest } = parsed.data;
  const document = { name, ...(description === undefined ? {} : { description }), team, ...rest };
  const errors = ruleErrors(document, rules);
  if (errors.length > 0) throw invalidJob(errors);
  return document;
}

function ruleErrors(document: JobDocument, rules: DocumentRules): FieldError[] {
  const errors: FieldError[] = [];
  if (document.team !== rules.team)
    errors.push({ path: '/team', message: `is not your team; leave it out or write ${JSON.stringify(rules.team)}`, code: 'unknown_team' });
  const inputBytes = document.input === undefined ? 0 : Buffer.byteLength(JSON.stringify(document.input));
  if (inputBytes > rules.inputLimitBytes) {
    const message = `has ${inputBytes} bytes as JSON, at most ${rules.inputLimitBytes}; keep large data elsewhere and hand over its address`;
    errors.push({ path: '/input', message, code: 'too_large' });
  }
  const unpoolable = pooledProblem(document);
  if (unpoolable) errors.push({ path: '/dispatch', message: unpoolable, code: 'not_poolable' });
  const { target } = document;
  if (target.type === 'http') {
    const problem = target.url === undefined ? null : rules.urlProblem(target.url);
    if (problem) errors.push({ path: '/target/url', message: problem, code: 'address_refused' });
    for (const { header, message } of rules.headerProblems(target.headers))
      errors.push({ path: `/target/headers/${header.replaceAll('~', '~0').replaceAll('/', '~1')}`, message, code: 'header_refused' });
  }
  return errors;
}

function readOnlyIssue(issue: FieldError, body: unknown): FieldError {
  const key = issue.path.slice(1);
  if (issue.code !== 'unknown_key' || !READ_ONLY_KEYS.includes(key) || !isObject(body)) return issue;
  return { path: issue.path, message: `${key} is set by Almanac; leave it out`, code: 'read_only' };
}

/** The error of a document with these wrong places. */
export function invalidJob(errors: FieldError[]): JobError {
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new JobError('invalid', 'invalid_job', `The job is not valid: ${first?.path || 'document'}: ${first?.message}${more}.`, {
    errors: errors.slice(0, 50),
  });
}
