/** Values of an iCalendar text that are times, lengths and offsets (RFC 5545, section 3.3). */
import type { IcsProperty } from './ics-lines.ts';
import { daysOfMonth } from './local-time.ts';

/** `wallS`: seconds of the wall that stands there, as if it showed UTC. A time that ends with Z is one of UTC. */
export type IcsTime = { wallS: number; isDate: boolean; isUtc: boolean };

const FIRST_YEAR = 1_600;
const DAY_S = 86_400;

/** Reads `20260228`, `20260228T100000` or `20260228T100000Z`. @returns null for what is none, and for days and hours that do not exist. */
export function parseTime(text: string): IcsTime | null {
  const match = /^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z)?)?$/.exec(text.trim());
  if (!match) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map((part) => Number(part ?? 0));
  if (year < FIRST_YEAR || month < 1 || month > 12 || day < 1 || day > daysOfMonth(month, year)) return null;
  if (hour > 23 || minute > 59 || second > 60) return null;
  const wallS = Date.UTC(year, month - 1, day, hour, minute, second) / 1_000;
  return { wallS, isDate: match[4] === undefined, isUtc: match[7] === 'Z' };
}

/** The values of a property that holds times, as they stand there: a property that says that it holds dates holds no hours. */
export function timeTextsOf({ parameters, value }: IcsProperty): string[] {
  const isDate = parameters.get('VALUE')?.toUpperCase() === 'DATE';
  return value.split(',').map((text) => (isDate ? text.trim().replace(/T\d{6}Z?$/, '') : text.trim()));
}

/** The times of a property that has been checked. */
export const timesOf = (property: IcsProperty): IcsTime[] => timeTextsOf(property).flatMap((text) => parseTime(text) ?? []);

/** Reads `P1W`, `P1DT12H` or `-PT30M`. @returns seconds, or null for what is none. */
export function parseLength(text: string): number | null {
  const match = /^([+-]?)P(?=.*\d)(?:(\d{1,7})W)?(?:(\d{1,7})D)?(?:T(?:(\d{1,7})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?$/.exec(text.trim());
  if (!match) return null;
  const [weeks = 0, days = 0, hours = 0, minutes = 0, seconds = 0] = match.slice(2).map((part) => Number(part ?? 0));
  return (match[1] === '-' ? -1 : 1) * ((weeks * 7 + days) * DAY_S + hours * 3_600 + minutes * 60 + seconds);
}

/** Reads `+0100` or `-003044`. @returns seconds, or null for what is none. */
export function parseOffset(text: string): number | null {
  const match = /^([+-])(\d\d)(\d\d)(\d\d)?$/.exec(text.trim());
  if (!match) return null;
  const [hours = 0, minutes = 0, seconds = 0] = match.slice(2).map((part) => Number(part ?? 0));
  return hours > 23 || minutes > 59 || seconds > 59 ? null : (match[1] === '-' ? -1 : 1) * (hours * 3_600 + minutes * 60 + seconds);
}
