/** Dates and times of day as a calendar's document writes them: without a zone, because each job reads a calendar in the zone of its own schedule. */

const DAY_S = 86_400;
const FIRST_YEAR = 1970;
const LAST_YEAR = 2100;

export const isLeapYear = (year: number): boolean => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;

/** Days of a month, 1 to 12; without a year February has 29. */
export function daysOfMonth(month: number, year?: number): number {
  if (month === 2) return year === undefined || isLeapYear(year) ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

const shown = (text: string) => JSON.stringify(text.slice(0, 60));

/** Seconds of the wall at which a date begins: as if the wall showed UTC. */
export const wallOfDate = (year: number, month: number, day: number): number => Date.UTC(year, month - 1, day) / 1_000;

/** The date that the wall shows at a second, `YYYY-MM-DD`. */
export const dateOfWall = (wallS: number): string => new Date(wallS * 1_000).toISOString().slice(0, 10);

/**
 * Reads `YYYY-MM-DD`.
 * @returns the wall second at which the day begins, or the sentence that says what is wrong and the cure.
 */
export function parseLocalDate(text: string): number | string {
  const match = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text);
  if (!match) return `${shown(text)} is not a date; write e.g. "2026-12-24"`;
  const [year = 0, month = 0, day = 0] = match.slice(1).map(Number);
  const problem = dayProblem(text, month, day, year);
  if (problem) return problem;
  if (year < FIRST_YEAR || year > LAST_YEAR)
    return `${shown(text)} is outside the years ${FIRST_YEAR} to ${LAST_YEAR}; write a year in between`;
  return wallOfDate(year, month, day);
}

/** Reads `MM-DD`, a day of every year. @returns month and day, or the sentence that says what is wrong. */
export function parseYearlyDate(text: string): { month: number; day: number } | string {
  const [month = 0, day = 0] = text.split('-').map(Number);
  return dayProblem(text, month, day) ?? { month, day };
}

function dayProblem(text: string, month: number, day: number, year?: number): string | null {
  if (month < 1 || month > 12) return `${shown(text)} has a month that does not exist; write 01 to 12`;
  const days = daysOfMonth(month, year);
  if (day >= 1 && day <= days) return null;
  return `${shown(text)} is a day that does not exist: that month has ${days} days; write ${String(days).padStart(2, '0')} or less`;
}

/** Reads `HH:MM` or `HH:MM:SS`, `24:00` included. @returns seconds since midnight, or the sentence that says what is wrong. */
export function parseTimeOfDay(text: string): number | string {
  const match = /^(\d\d):(\d\d)(?::(\d\d))?$/.exec(text);
  const [hour = 0, minute = 0, second = 0] = (match?.slice(1) ?? []).map((part) => Number(part ?? 0));
  const seconds = hour * 3_600 + minute * 60 + second;
  if (match && minute <= 59 && second <= 59 && seconds <= DAY_S) return seconds;
  return `${shown(text)} is not a time of day; write "00:00" to "24:00"`;
}

/**
 * Reads `YYYY-MM-DD`, or the same with `THH:MM[:SS]`.
 * @returns the wall second and whether it is a whole day, or the sentence that says what is wrong.
 */
export function parseLocalTime(text: string): { wallS: number; isDay: boolean } | string {
  const [date = '', time] = text.split('T');
  if (/(Z|[+-]\d\d:?\d\d)$/i.test(time ?? ''))
    return `${shown(text)} has an offset; leave it out: a calendar is read in the zone of each job's schedule`;
  const day = parseLocalDate(date);
  if (typeof day === 'string')
    return /^\d{4}-\d\d-\d\d$/.test(date)
      ? day
      : `${shown(text)} is neither a date nor a local time; write "2026-12-24" or "2026-12-24T18:00"`;
  if (time === undefined) return { wallS: day, isDay: true };
  const ofDay = parseTimeOfDay(time);
  return typeof ofDay === 'string' ? ofDay : { wallS: day + ofDay, isDay: false };
}
