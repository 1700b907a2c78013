/** Durations as people write them: `"30s"`, `"1h30m"`, `"1.5s"`, ISO 8601 `"PT5M"`. Inside the code they are whole milliseconds. */
import { z } from 'zod';

const UNIT_MS = { w: 604_800_000, d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;
type Unit = keyof typeof UNIT_MS;
const UNITS = Object.keys(UNIT_MS) as Unit[];

/** 100 years: more is surely a slip, and everything below stays exact in milliseconds. */
const LONGEST_MS = 100 * 365 * UNIT_MS.d;

const PART = /(\d+(?:\.\d+)?)(ms|[smhdw])/g;
const COMPOUND = /^(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+$/;
const ISO =
  /^P(?=[\dT])(?:(\d+(?:\.\d+)?)W)?(?:(\d+(?:\.\d+)?)D)?(?:T(?=\d)(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?$/;

/** Thrown for a text that is not a duration; `message` quotes the text and says the cure. */
export class DurationError extends Error {
  override name = 'DurationError';
}

/**
 * Milliseconds of a duration text.
 * @param text `500ms`, `30s`, `15m`, `1h`, `1d`, `1w`, compounds from the largest unit down (`1h30m`), or ISO 8601 with weeks, days and time (`P1DT2H`).
 * @returns whole milliseconds, 0 to 100 years. A day is 24 hours, a week 7 days.
 * @throws DurationError
 */
export function parseDuration(text: string): number {
  const trimmed = text.trim();
  const ms = /^[Pp]/.test(trimmed) ? isoMs(trimmed.toUpperCase(), text) : compoundMs(trimmed, text);
  const whole = Math.round(ms);
  // 1.1s is 1100.0000000000002 in binary; what differs from a whole millisecond by more was really asked for.
  if (Math.abs(ms - whole) > 1e-6)
    throw new DurationError(`${quote(text)} is finer than a millisecond; write whole milliseconds, e.g. "${whole}ms"`);
  if (whole > LONGEST_MS) throw new DurationError(`${quote(text)} is longer than 100 years; write a shorter duration`);
  return whole;
}

function compoundMs(trimmed: string, text: string): number {
  if (trimmed === '') throw new DurationError('a duration is empty; write a number and a unit, e.g. "30s"');
  if (/^\d+(\.\d+)?$/.test(trimmed))
    throw new DurationError(`${quote(text)} has no unit; write "${trimmed}s" for seconds or "${trimmed}m" for minutes`);
  if (/^[-+]/.test(trimmed)) throw new DurationError(`${quote(text)} has a sign; durations are never negative, write it without the sign`);
  if (!COMPOUND.test(trimmed)) {
    throw new DurationError(
      `${quote(text)} is not a duration; write a number and a unit (ms, s, m, h, d, w), e.g. "30s", "1h30m", or ISO 8601, e.g. "PT5M"`,
    );
  }
  let total = 0;
  let last = -1;
  for (const [, number, unit] of trimmed.matchAll(PART)) {
    const rank = UNITS.indexOf(unit as Unit);
    if (rank <= last)
      throw new DurationError(`${quote(text)} repeats or reverses units; write each unit once, the largest first, e.g. "1h30m"`);
    last = rank;
    total += Number(number) * UNIT_MS[unit as Unit];
  }
  return total;
}

function isoMs(upper: string, text: string): number {
  const match = ISO.exec(upper);
  if (!match) {
    const calendar = /^P[^T]*\d[YM]/.test(upper) ? ' (years and months have no fixed length; write days)' : '';
    throw new DurationError(`${quote(text)} is not a supported ISO 8601 duration${calendar}; write e.g. "PT5M", "PT1H30M" or "P1D"`);
  }
  const [, w, d, h, m, s] = match;
  return part(w, 'w') + part(d, 'd') + part(h, 'h') + part(m, 'm') + part(s, 's');
}

const part = (digits: string | undefined, unit: Unit) => (digits === undefined ? 0 : Number(digits) * UNIT_MS[unit]);
const quote = (text: string) => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);

/**
 * The one canonical text of a duration: whole weeks as `2w`, else days, hours, minutes, seconds, milliseconds: `1d12h`, `1m30s`, `0s`.
 * @param ms whole milliseconds, not negative.
 */
export function formatDuration(ms: number): string {
  if (!Number.isSafeInteger(ms) || ms < 0) throw new DurationError(`${ms} is not a whole, non-negative number of milliseconds`);
  if (ms === 0) return '0s';
  if (ms % UNIT_MS.w === 0) return `${ms / UNIT_MS.w}w`;
  let rest = ms;
  let text = '';
  for (const unit of UNITS.slice(1)) {
    const count = Math.floor(rest / UNIT_MS[unit]);
    rest -= count * UNIT_MS[unit];
    if (count > 0) text += `${count}${unit}`;
  }
  return text;
}

/** A duration in a document: a text in, its canonical text out (`"PT90S"` → `"1m30s"`). Read it with `durationMs`. */
export const durationSchema = z
  .string({
    error: ({ input }) =>
      input === undefined
        ? 'is required: a duration, e.g. "30s"'
        : `must be a duration in quotes, e.g. "30s" (is ${JSON.stringify(input)})`,
  })
  .max(100, 'is too long for a duration; write e.g. "1h30m"')
  .check((payload) => {
    try {
      payload.value = formatDuration(parseDuration(payload.value));
    } catch (error) {
      if (!(error instanceof DurationError)) throw error;
      payload.issues.push({ code: 'custom', message: error.message, input: payload.value, continue: true });
    }
  })
  .meta({ description: 'A duration: "500ms", "30s", "15m", "1h30m", "1d", "1w", or ISO 8601 ("PT5M")', example: '30s' });

/** Milliseconds of a text that `durationSchema` has accepted. */
export function durationMs(text: string): number {
  return parseDuration(text);
}
