/**
 * Cron texts compiled by us to structured calendars. Temporal's own parser reads a sixth field as the year, `MON#1` as a comment and both day fields as AND;
 * crontab users mean something else by each, and would not be told. Here the text either means what crontab(5) says, with optional leading seconds, or is refused
 * with the cure.
 */
import { type CronField, parseCronField } from './cron-field.ts';
import { FIELD_LIMITS, type Field, type Range, rangesOf } from './ranges.ts';

/** One structured calendar: a wall time matches when all six fields do. Every year. */
export type Calendar = Record<Field, Range[]>;

/** Thrown for a cron text that is wrong or means something else elsewhere; `message` quotes the text and says the cure. */
export class CronError extends Error {
  override name = 'CronError';
}

const ALIASES: Record<string, string> = {
  '@hourly': '0 * * * *',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@weekly': '0 0 * * 0',
  '@monthly': '0 0 1 * *',
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
};

const LONGEST_TEXT = 500;
/** Most days each month ever has; 29 February exists, so a job for it fires in leap years. */
const DAYS_IN_MONTH = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const ORDER: readonly Field[] = ['second', 'minute', 'hour', 'dayOfMonth', 'month', 'dayOfWeek'];

/**
 * Compiles a cron text of 5 fields (minute, hour, day of month, month, day of week) or 6 (seconds first), or an alias such as `@daily`.
 * Day of month and day of week both restricted mean OR, as in crontab(5), and give two calendars; a field that begins with `*` is not restricted there,
 * so that `0 0 *\/2 * MON` is every Monday with an odd date.
 * @returns one or two calendars, each with all fields as canonical ranges; shared by all who ask, so never to be changed.
 * @throws CronError
 */
export function compileCron(text: string): Calendar[] {
  const known = compiled.get(text);
  if (known) return known;
  const calendars = compileAnew(text);
  if (compiled.size >= MOST_COMPILED) compiled.delete(compiled.keys().next().value as string);
  compiled.set(text, calendars);
  return calendars;
}

/** A document's cron is read to check it and again to use it, and many jobs have the same. */
const compiled = new Map<string, Calendar[]>();
const MOST_COMPILED = 2_000;

function compileAnew(text: string): Calendar[] {
  const cron = expand(text);
  const parts = cron.split(/\s+/);
  if (parts.length === 7)
    throw wrong(
      text,
      'has 7 fields; a year field is not supported: write 5 fields, or 6 with seconds first, and limit the years with startAt and endAt',
    );
  if (parts.length !== 5 && parts.length !== 6) {
    throw wrong(
      text,
      `has ${parts.length} field${parts.length === 1 ? '' : 's'}; write 5 (minute hour day-of-month month day-of-week), or 6 with seconds first`,
    );
  }
  const texts = parts.length === 6 ? parts : ['0', ...parts];
  const fields = Object.fromEntries(ORDER.map((field, index) => [field, read(text, field, texts[index]!)])) as Record<Field, CronField>;
  return calendarsOf(text, fields);
}

function expand(text: string): string {
  const cron = text.trim();
  if (cron === '') throw new CronError('a cron text is empty; write e.g. "0 2 * * *"');
  if (cron.length > LONGEST_TEXT)
    throw new CronError(`a cron text has ${cron.length} characters; at most ${LONGEST_TEXT} are allowed: use a list of shorter ones`);
  if (/^(CRON_)?TZ=/i.test(cron)) throw wrong(text, 'has a time zone prefix; leave it out and use timezone, e.g. timezone: Europe/Berlin');
  if (!cron.startsWith('@')) return cron;
  const alias = cron.toLowerCase();
  if (alias.startsWith('@every')) throw wrong(text, 'is an interval; use every, e.g. every: 15m');
  if (alias === '@reboot') throw wrong(text, 'has no time; a job runs on a schedule or on a trigger, not when a machine starts');
  const known = ALIASES[alias];
  if (!known) throw wrong(text, `is not a known alias; write one of ${Object.keys(ALIASES).join(', ')}, or five fields`);
  return known;
}

function read(text: string, field: Field, part: string): CronField {
  const parsed = parseCronField(field, part);
  if (typeof parsed === 'string') throw wrong(text, parsed);
  return parsed;
}

function calendarsOf(text: string, fields: Record<Field, CronField>): Calendar[] {
  const { dayOfMonth, dayOfWeek, month } = fields;
  const canonical = Object.fromEntries(ORDER.map((field) => [field, rangesOf(fields[field].values)])) as Calendar;
  const daysExist = [...month.values].some((m) => [...dayOfMonth.values].some((day) => day <= DAYS_IN_MONTH[m - 1]!));
  const either = !dayOfMonth.starred && !dayOfWeek.starred;
  if (!either && !daysExist) {
    throw wrong(
      text,
      'never fires: none of its months has such a day; write a day that exists, e.g. 28 for the last day every February has',
    );
  }
  if (!either) return [canonical];
  const byWeek = { ...canonical, dayOfMonth: every('dayOfMonth') };
  // A day of month that never comes leaves only the day of week of the OR.
  return daysExist ? [{ ...canonical, dayOfWeek: every('dayOfWeek') }, byWeek] : [byWeek];
}

const every = (field: Field): Range[] => [{ start: FIELD_LIMITS[field][0], end: FIELD_LIMITS[field][1], step: 1 }];
const wrong = (text: string, what: string) =>
  new CronError(`cron ${JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)} ${what}`);
