/** Query strings, read strictly: a parameter that is unknown, doubled or badly encoded is refused, never guessed at. */
import { z } from 'zod';
import { JobError } from '../jobs/errors.ts';
import { isJobId } from '../jobs/ids.ts';
import { documentIssues, nearest } from '../jobs/job-issues.ts';
import { refuseHostileString } from './hostile-text.ts';

/** The schema of a route's query: an object of texts; parameters whose schema is `repeatable` may stand there several times. */
export type QuerySchema = z.ZodObject;

/** A parameter that may be repeated; its value is a list. */
export const repeatable = <T extends z.ZodType>(item: T, most = 20) => z.array(item).max(most, `may be given at most ${most} times`);

/** A whole number from a query text. */
export const wholeNumber = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, `must be a whole number from ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, `must be from ${least} to ${most}`)
    .meta({ type: 'integer', minimum: least, maximum: most });

/** What happened may be of a job that has another name by now: it is found by the job's id alone. */
export const jobIdQuery = z
  .string()
  .max(200)
  .refine(isJobId, 'must be the id of a job, job_…; jobs may have changed their names since')
  .optional();

/** A page: how many, and from where. Every list takes these two. */
export const pageQuery = {
  limit: wholeNumber(1, 200)
    .default(50)
    .meta({ type: 'integer', minimum: 1, maximum: 200, default: 50, description: 'Most items of the page' }),
  cursor: z.string().min(1).max(2_000).optional().meta({ description: '`nextCursor` of the page before' }),
};

/** A half-open range of times. @throws JobError `invalid` when it is empty. */
export function rangeOf({ from, to }: { from?: string | undefined; to?: string | undefined }): {
  from: Date | undefined;
  to: Date | undefined;
} {
  if (from !== undefined && to !== undefined && Date.parse(to) <= Date.parse(from)) {
    throw new JobError('invalid', 'invalid_query', `to ${to} must be after from ${from}.`, {
      errors: [{ path: 'query/to', message: 'must be after from', code: 'empty_range' }],
    });
  }
  return { from: from === undefined ? undefined : new Date(from), to: to === undefined ? undefined : new Date(to) };
}

export type QueryReader = (url: string) => Record<string, unknown>;

/** Creates the reader of a route's query; it throws JobError `malformed`, or `invalid` naming each parameter. */
export function createQueryReader(schema: QuerySchema): QueryReader {
  const known = Object.keys(schema.shape);
  const lists = new Set(known.filter((name) => isList(schema.shape[name])));
  const empty = schema.safeParse({});
  return (url) => {
    const mark = url.indexOf('?');
    if ((mark < 0 || mark === url.length - 1) && empty.success) return empty.data;
    const given = collect(mark < 0 ? '' : url.slice(mark + 1), known, lists);
    const parsed = schema.safeParse(given);
    if (parsed.success) return parsed.data;
    const errors = documentIssues(parsed.error).map((issue) => ({ ...issue, path: `query${issue.path}` }));
    throw new JobError(
      'invalid',
      'invalid_query',
      `The query is not valid: ${errors[0]?.path.slice('query/'.length)} ${errors[0]?.message}.`,
      { errors },
    );
  };
}

function isList(schema: unknown): boolean {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault) inner = inner.unwrap();
  return inner instanceof z.ZodArray;
}

function collect(text: string, known: readonly string[], lists: ReadonlySet<string>): Record<string, string | string[]> {
  const given: Record<string, string | string[]> = {};
  for (const part of text.split('&')) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    const name = decode(equals < 0 ? part : part.slice(0, equals), 'query');
    if (!known.includes(name)) throw unknownParameter(name, known);
    const value = decode(equals < 0 ? '' : part.slice(equals + 1), `query/${name}`);
    const before = given[name];
    if (lists.has(name)) given[name] = [...((before as string[] | undefined) ?? []), value];
    else if (before !== undefined) throw refused(name, 'duplicate_parameter', 'is given twice; give it once');
    else given[name] = value;
  }
  return given;
}

/** Form decoding of one name or value. */
function decode(text: string, place: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(text.includes('+') ? text.replaceAll('+', ' ') : text);
  } catch {
    throw new JobError('malformed', 'malformed_url', `The address has broken percent-encoding in ${place}.`, {
      errors: [{ path: place, message: 'has broken percent-encoding', code: 'malformed_url' }],
    });
  }
  refuseHostileString(decoded, () => place);
  return decoded;
}

function unknownParameter(name: string, known: readonly string[]): JobError {
  const hint = known.length === 0 ? 'there are none here' : `did you mean ${nearest(name, known).split('did you mean ')[1]}`;
  return refused(name.slice(0, 60), 'unknown_parameter', `is not a parameter of this route; ${hint}`);
}

function refused(name: string, code: string, message: string): JobError {
  return new JobError('malformed', code, `Query parameter ${JSON.stringify(name)} ${message}${message.endsWith('?') ? '' : '.'}`, {
    errors: [{ path: `query/${name}`, message, code }],
  });
}
