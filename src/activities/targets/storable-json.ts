/**
 * Makes what the outside returned fit for Postgres: `jsonb` takes neither NUL characters nor lone surrogates, and a row must stay small.
 * Such characters become U+FFFD, the character that stands for one that can't be shown; the caller is told.
 */

/** How much of a result is kept: 64 KiB of its text. */
export const RESULT_LIMIT_BYTES = 64 * 1024;
const MESSAGE_LIMIT = 4_000;

/** Each escape of a JSON text as a whole, so that an escaped backslash before `u0000` is not taken for a NUL. */
const ESCAPES = /\\(?:u0000|ud[89a-f][0-9a-f]{2}|.)/g;
const REFUSED_ESCAPE = /\\u(?:0000|d[89a-f][0-9a-f]{2})/;

/** A text without NUL and lone surrogates; `replaced` says whether there were any. */
export function storableText(text: string): { text: string; replaced: boolean } {
  const clean = text.includes('\0') ? text.replaceAll('\0', '\ufffd') : text;
  const wellFormed = clean.isWellFormed() ? clean : clean.toWellFormed();
  return { text: wellFormed, replaced: wellFormed !== text };
}

/** An error's sentence as it is stored: storable and at most 4,000 characters. */
export function storableMessage(text: string): string {
  return storableText(text.length > MESSAGE_LIMIT ? `${text.slice(0, MESSAGE_LIMIT)}…` : text).text;
}

/**
 * A value as JSON can hold it. `undefined` is null; over 64 KiB it becomes `{ truncated: true, bytes, preview }`, whose preview is the start of its JSON text.
 * @throws TypeError when the value is not JSON (a cycle, a BigInt, a function).
 */
export function storableJson(value: unknown): { value: unknown; replaced: boolean } {
  if (value === undefined || value === null) return { value: null, replaced: false };
  // JSON.stringify writes lone surrogates and NUL as escapes, and only those, so that the text tells whether there is work.
  const json: string | undefined = JSON.stringify(value);
  if (json === undefined) throw new TypeError(`a ${typeof value} is not JSON`);
  const clean = REFUSED_ESCAPE.test(json) ? json.replace(ESCAPES, (found) => (REFUSED_ESCAPE.test(found) ? '\ufffd' : found)) : json;
  const bytes = Buffer.byteLength(clean);
  if (bytes > RESULT_LIMIT_BYTES) {
    const preview = new TextDecoder().decode(Buffer.from(clean).subarray(0, RESULT_LIMIT_BYTES), { stream: true });
    return { value: { truncated: true, bytes, preview }, replaced: clean !== json };
  }
  return { value: JSON.parse(clean) as unknown, replaced: clean !== json };
}
