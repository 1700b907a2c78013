/** What can go wrong for a caller: one kind per thing the caller can do about it. The API maps kinds to HTTP in one table. */
import { isPostgresAway } from '../postgres.ts';
import { isTemporalAway } from '../temporal.ts';

/**
 * - `malformed`: the request itself can't be read (syntax, NUL characters, a cursor of another list)
 * - `invalid`: readable, but breaks a rule; `errors` names each place
 * - `unauthenticated`, `forbidden`: no usable key; a key that may not
 * - `not_found`: nothing there, or not the caller's
 * - `gone`: it was there, and has left the database for an archive
 * - `conflict`: taken by something else, e.g. a name
 * - `refused`: the state of the thing forbids it now, e.g. a disabled job
 * - `precondition`, `precondition_required`: If-Match says it has changed; If-Match is missing
 * - `too_large`, `unsupported_type`: the body
 * - `rate_limited`, `unavailable`: the same request may succeed later; `retryAfterS` says when
 */
export type ErrorKind =
  | 'malformed'
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'gone'
  | 'conflict'
  | 'refused'
  | 'precondition'
  | 'precondition_required'
  | 'too_large'
  | 'unsupported_type'
  | 'rate_limited'
  | 'unavailable';

/** One wrong place: JSON Pointer into the body, `query/<name>`, `path/<name>` or `header/<name>` elsewhere; what is wrong and the cure. */
export type FieldError = { path: string; message: string; code: string };

export type ErrorDetails = {
  errors?: FieldError[] | undefined;
  /** Further members of the problem, e.g. `{ id }` of the job that has the name already. */
  extra?: Record<string, unknown> | undefined;
  /** Seconds after which the same request may succeed. */
  retryAfterS?: number | undefined;
  cause?: unknown;
};

/** An error that is the caller's to handle. `message` is a sentence that quotes the value and says the cure. */
export class JobError extends Error {
  override name = 'JobError';
  readonly kind: ErrorKind;
  /** Stable snake_case word for programs, e.g. `name_taken`. */
  readonly code: string;
  readonly errors: FieldError[] | undefined;
  readonly extra: Record<string, unknown> | undefined;
  readonly retryAfterS: number | undefined;

  constructor(kind: ErrorKind, code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = kind;
    this.code = code;
    this.errors = details.errors;
    this.extra = details.extra;
    this.retryAfterS = details.retryAfterS;
  }
}

/** JSON Pointer (RFC 6901) of a path of keys. */
export const jsonPointer = (path: readonly PropertyKey[]): string =>
  path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

/** Postgres: data that a client sent and no column takes (22xxx), and what a second try may get past. */
const PASSING_CODES = new Set(['40001', '40P01', '55P03', '57014']);

/**
 * The caller's side of any error: a JobError as it is; a server that is away as `unavailable`; data that Postgres can't store as
 * `malformed`; null when the fault is ours.
 */
export function asJobError(error: unknown): JobError | null {
  if (error instanceof JobError) return error;
  if (isPostgresAway(error)) return unavailable('postgres_away', 'Postgres is not reachable at the moment', error);
  if (isTemporalAway(error)) return unavailable('temporal_away', 'Temporal is not reachable at the moment', error);
  const code = error instanceof Error ? String((error as { code?: unknown }).code ?? '') : '';
  if (PASSING_CODES.has(code)) return unavailable('busy', 'The same rows are being changed by others', error);
  if (/^22[0-9A-Z]{3}$/.test(code)) {
    return new JobError(
      'malformed',
      'unstorable_value',
      'A value in the request cannot be stored or compared; check times, numbers and characters',
      { cause: error },
    );
  }
  return null;
}

const unavailable = (code: string, sentence: string, cause: unknown) =>
  new JobError('unavailable', code, `${sentence}; nothing was changed by a refused request, try again.`, { retryAfterS: 2, cause });
