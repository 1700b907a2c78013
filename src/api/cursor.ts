/** Cursors: where the next page begins. Opaque to clients, and of use only with the filter and sort they were made for. */
import { hash } from 'node:crypto';
import { JobError } from '../jobs/errors.ts';

/** Values of the sort columns of a page's last item, the unique one last. */
export type CursorValues = readonly (string | number | null)[];

/** Short fingerprint of filter and sort; the page size is not part of it and may change between pages. */
export function cursorBinding(list: string, query: Record<string, unknown>): string {
  const bound = Object.keys(query)
    .filter((key) => key !== 'cursor' && key !== 'limit' && query[key] !== undefined)
    .sort()
    .map((key) => [key, query[key]]);
  return hash('sha256', JSON.stringify([list, bound]), 'base64url').slice(0, 12);
}

export const encodeCursor = (binding: string, values: CursorValues): string =>
  Buffer.from(JSON.stringify([binding, ...values])).toString('base64url');

/**
 * Values of a cursor that was made for this binding.
 * @param shape says what each value is; a cursor that somebody has written by hand must not reach a statement.
 * @throws JobError `malformed` for anything else.
 */
export function decodeCursor<T extends CursorValues>(cursor: string, binding: string, shape: (values: unknown[]) => values is [...T]): T {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    parsed = null;
  }
  if (!Array.isArray(parsed)) throw refusal('is not a cursor of Almanac; pass nextCursor as it came');
  const [bound, ...values] = parsed as unknown[];
  if (bound !== binding) throw refusal('belongs to another filter or sort; start again without cursor');
  if (!shape(values)) throw refusal('is not a cursor of this list; pass nextCursor as it came');
  return values;
}

const refusal = (message: string) =>
  new JobError('malformed', 'bad_cursor', `cursor ${message}.`, { errors: [{ path: 'query/cursor', message, code: 'bad_cursor' }] });
