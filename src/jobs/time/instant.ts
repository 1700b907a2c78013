/** Moments in documents: RFC 3339 with a time zone offset, in the years a scheduler can mean. */
import { z } from 'zod';

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/;
const FIRST_YEAR = 1970;
const LAST_YEAR = 2200;

/**
 * Reads an RFC 3339 time with offset.
 * @returns the moment, or the sentence that says what is wrong and the cure.
 */
export function parseInstant(text: string): Date | string {
  const shown = JSON.stringify(text.slice(0, 60));
  const match = RFC3339.exec(text);
  if (!match) {
    if (/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?$/i.test(text)) return `${shown} has no time zone offset; add Z or e.g. +02:00`;
    return `${shown} is not an RFC 3339 time; write e.g. 2026-12-01T10:00:00Z or 2026-12-01T10:00:00+02:00`;
  }
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  const [offsetHour = 0, offsetMinute = 0] = match[8]!.length > 1 ? match[8]!.slice(1).split(':').map(Number) : [];
  const daysInMonth = new Date(Date.UTC(2000, month, 0)).getUTCDate() - (month === 2 && !isLeap(year) ? 1 : 0);
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth) return `${shown} is on a day that does not exist; write a real date`;
  if (hour > 23 || minute > 59 || second > 59) return `${shown} has a time of day that does not exist; write 00:00:00 to 23:59:59`;
  if (offsetHour > 23 || offsetMinute > 59) return `${shown} has an offset that does not exist; write Z or e.g. +02:00`;
  const moment = new Date(text.toUpperCase());
  const utcYear = moment.getUTCFullYear();
  if (year < FIRST_YEAR || utcYear < FIRST_YEAR || utcYear > LAST_YEAR)
    return `${shown} is outside the years ${FIRST_YEAR} to ${LAST_YEAR}; write a year in between`;
  return moment;
}

/** Canonical text of a moment: UTC, milliseconds only when there are any. */
export function formatInstant(moment: Date): string {
  return moment.toISOString().replace('.000Z', 'Z');
}

/** A moment in a document: RFC 3339 with offset in, UTC out (`2026-12-01T10:00:00+02:00` → `2026-12-01T08:00:00Z`). */
export const instantSchema = z
  .string({
    error: ({ input }) =>
      input === undefined
        ? 'is required: an RFC 3339 time, e.g. "2026-12-01T10:00:00Z"'
        : `must be an RFC 3339 time in quotes, e.g. "2026-12-01T10:00:00Z" (is ${JSON.stringify(input)})`,
  })
  .check((payload) => {
    const parsed = parseInstant(payload.value);
    if (typeof parsed === 'string') payload.issues.push({ code: 'custom', message: parsed, input: payload.value, continue: true });
    else payload.value = formatInstant(parsed);
  })
  .meta({ description: 'RFC 3339 time with time zone offset', format: 'date-time', example: '2026-12-01T10:00:00Z' });

const isLeap = (year: number) => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
