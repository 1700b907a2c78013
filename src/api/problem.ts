/** Every error as an RFC 9457 problem. This table is the only place where kinds of errors become HTTP. */
import { asJobError, type ErrorKind, type FieldError, JobError } from '../jobs/errors.ts';

const HTTP: Record<ErrorKind, { status: number; title: string }> = {
  malformed: { status: 400, title: 'The request cannot be read' },
  unauthenticated: { status: 401, title: 'A valid API key is needed' },
  forbidden: { status: 403, title: 'Not allowed' },
  not_found: { status: 404, title: 'Not found' },
  gone: { status: 410, title: 'No longer here' },
  conflict: { status: 409, title: 'Conflict' },
  refused: { status: 409, title: 'Refused in the present state' },
  precondition: { status: 412, title: 'Changed meanwhile' },
  too_large: { status: 413, title: 'Too large' },
  unsupported_type: { status: 415, title: 'Unsupported content type' },
  invalid: { status: 422, title: 'Not valid' },
  precondition_required: { status: 428, title: 'If-Match is required' },
  rate_limited: { status: 429, title: 'Too many requests' },
  unavailable: { status: 503, title: 'Not available at the moment' },
};

/** Members of RFC 9457, and ours: `code` for programs, `errors` by place, `requestId` for whoever looks it up in the log. */
export type Problem = {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  errors?: FieldError[];
  requestId: string;
  [extra: string]: unknown;
};

export type ProblemReply = { problem: Problem; headers: Record<string, string> };

/** What an error says to the client; `ours` is true when it is our fault and belongs in the log. */
export function problemOf(error: unknown, requestId: string): ProblemReply & { ours: boolean } {
  const known = asJobError(error) ?? fromHttpError(error);
  if (!known) {
    const detail = 'Almanac failed on this request; its log has the reason under the request id.';
    return { ...render(500, 'Internal error', 'internal', detail, requestId), ours: true };
  }
  const { status, title } = HTTP[known.kind];
  const reply = render(status, title, known.code, known.message, requestId, known);
  return { ...reply, ours: false };
}

/** The problem of a method that a path does not have. */
export function methodNotAllowed(method: string, path: string, allow: string, requestId: string): ProblemReply {
  const reply = render(
    405,
    'Method not allowed',
    'method_not_allowed',
    `${path} does not take ${method.slice(0, 20)}; it takes ${allow}.`,
    requestId,
  );
  reply.headers.Allow = allow;
  return reply;
}

function render(status: number, title: string, code: string, detail: string, requestId: string, error?: JobError): ProblemReply {
  const headers: Record<string, string> = {};
  if (error?.retryAfterS !== undefined) headers['Retry-After'] = String(error.retryAfterS);
  if (status === 401) headers['WWW-Authenticate'] = 'Bearer realm="almanac"';
  const problem: Problem = {
    ...error?.extra,
    type: `urn:almanac:problem:${code}`,
    title,
    status,
    detail,
    code,
    ...(error?.errors ? { errors: error.errors } : {}),
    requestId,
  };
  return { problem, headers };
}

/** Errors of Express and its body reader carry a status; only those that say "the client did it" are passed on. */
function fromHttpError(error: unknown): JobError | null {
  if (!(error instanceof Error)) return null;
  const { status, type, limit } = error as { status?: unknown; type?: unknown; limit?: unknown };
  if (error instanceof URIError) return new JobError('malformed', 'malformed_url', 'The address has broken percent-encoding.');
  if (typeof status !== 'number' || status < 400 || status > 499) return null;
  if (status === 413)
    return new JobError('too_large', 'body_too_large', `The body is larger than ${String(limit)} bytes.`, { extra: { limit } });
  if (status === 415)
    return new JobError(
      'unsupported_type',
      'unsupported_encoding',
      `${error.message}; send the body as it is, or with gzip, deflate or br.`,
    );
  const code = typeof type === 'string' ? type.replaceAll('.', '_') : 'malformed_request';
  return new JobError('malformed', code, `The request could not be read: ${error.message}.`);
}
