/** Entity tags (RFC 9110 sections 8.8.3 and 13.1): the tag of a definition is its generation. */
import { JobError } from '../jobs/errors.ts';

export const etagOf = (generation: number): string => `"${generation}"`;

const TAG = /^(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"$/;

/**
 * Reads If-Match: `*`, one tag or a list. Comparison is strong: a weak tag never matches (RFC 9110 section 13.1.1).
 * @returns undefined without the header.
 * @throws JobError `malformed` when it is no list of tags.
 */
export function parseIfMatch(header: string | undefined): ((generation: number) => boolean) | undefined {
  if (header === undefined) return undefined;
  const tags = parseTags(header, 'If-Match');
  if (tags === '*') return () => true;
  return (generation) => tags.some((tag) => !tag.weak && tag.value === String(generation));
}

/** True when If-None-Match names the tag, so that a GET may answer 304. Comparison is weak. */
export function noneMatchHit(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  const tags = parseTags(header, 'If-None-Match');
  return tags === '*' || tags.some((tag) => `"${tag.value}"` === etag);
}

/** A PUT that should create and never replace is a POST here; a condition that is not looked at must not be accepted. */
export function refuseCreateOnly(ifNoneMatch: string | undefined): void {
  if (ifNoneMatch === undefined) return;
  throw new JobError('malformed', 'unsupported_condition', 'PUT does not take If-None-Match; POST creates and never replaces.', {
    errors: [{ path: 'header/If-None-Match', message: 'is not taken by PUT; use POST to create', code: 'unsupported_condition' }],
  });
}

function parseTags(header: string, name: string): '*' | { weak: boolean; value: string }[] {
  if (header.trim() === '*') return '*';
  const parts = header.match(/(?:[^,"]|"[^"]*"?)+/g) ?? [];
  const tags = parts.map((part) => TAG.exec(part.trim()));
  if (tags.length === 0 || tags.some((tag) => tag === null)) {
    throw new JobError(
      'malformed',
      'malformed_entity_tag',
      `${name} must be * or entity tags in double quotes, e.g. "3"; it is ${JSON.stringify(header.slice(0, 100))}.`,
      {
        errors: [{ path: `header/${name}`, message: 'must be * or entity tags in double quotes, e.g. "3"', code: 'malformed_entity_tag' }],
      },
    );
  }
  return tags.flatMap((tag) => (tag ? [{ weak: tag[1] !== undefined, value: tag[2] ?? '' }] : []));
}
