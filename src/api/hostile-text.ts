/** Refuses, at the door, text that Postgres can't store and trees that nobody can walk: they must never become a 500 further in. */
import { JobError, jsonPointer } from '../jobs/errors.ts';

/** A job document is about 6 deep; inputs are data, not programs. */
const DEEPEST = 64;
/** Escapes are the only way such characters get through a UTF-8 decoder and a JSON parser: no escape, no look at the strings. */
const SUSPICIOUS_ESCAPE = /\\u(?:0000|[dD][89a-fA-F])/;

/**
 * Checks a parsed JSON body: no NUL, no lone surrogate, no `__proto__` key, no number beyond the range of a double, at most 64 levels.
 * @param text the JSON it was parsed from.
 * @throws JobError `malformed`, naming the place.
 */
export function refuseHostileJson(text: string, value: unknown): void {
  const suspicious = SUSPICIOUS_ESCAPE.test(text);
  const path: (string | number)[] = [];
  const walk = (node: unknown): void => {
    if (typeof node === 'string') {
      if (suspicious) refuseHostileString(node, () => jsonPointer(path));
    } else if (typeof node === 'number') {
      if (!Number.isFinite(node)) throw refusal(jsonPointer(path), 'number_out_of_range', 'is a number beyond ±1.7e308');
    } else if (typeof node === 'object' && node !== null) {
      if (path.length >= DEEPEST) throw refusal(jsonPointer(path), 'too_deep', `is nested deeper than ${DEEPEST} levels`);
      if (Array.isArray(node)) for (const [index, item] of node.entries()) step(index, item);
      else for (const key of Object.keys(node)) step(key, (node as Record<string, unknown>)[key]);
    }
  };
  const step = (key: string | number, child: unknown): void => {
    path.push(key);
    if (key === '__proto__') throw refusal(jsonPointer(path), 'forbidden_key', 'is a key that no document may have; rename it');
    if (suspicious && typeof key === 'string')
      refuseHostileString(key, () => jsonPointer(path.with(-1, key.replaceAll('\0', '\\u0000').toWellFormed())));
    walk(child);
    path.pop();
  };
  walk(value);
}

/** @throws JobError `malformed` when the text has a NUL character or half a surrogate pair. */
export function refuseHostileString(text: string, place: () => string): void {
  if (text.includes('\0')) throw refusal(place(), 'nul_character', 'has a NUL character (U+0000), which cannot be stored; leave it out');
  if (!text.isWellFormed()) throw refusal(place(), 'lone_surrogate', 'has half of a surrogate pair, which is no character; leave it out');
}

function refusal(path: string, code: string, sentence: string): JobError {
  return new JobError('malformed', code, `${path || 'The body'} ${sentence}.`, { errors: [{ path, message: sentence, code }] });
}
