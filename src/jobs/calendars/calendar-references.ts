/** Calendars that a job's schedule names: whether they exist, where in the document they stand, and their stretches in the schedule's zone. */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { FieldError } from '../errors.ts';
import { invalidJob, type JobDocument } from '../job-document.ts';
import { nearest } from '../job-issues.ts';
import type { Schedule } from '../time/schedule-document.ts';
import { holidayPlaces } from './holiday-dates.ts';
import { calendarsShare, type KeptCalendar, spansEnsure } from './span-store.ts';

/** Where a schedule names calendars. Paths begin at the schedule. */
export function calendarPlaces(schedule: Schedule | undefined): { path: string; name: string }[] {
  const stops = (['include', 'exclude'] as const).flatMap((key) =>
    (schedule?.[key] ?? []).map((name, index) => ({ path: `/${key}/${index}`, name })),
  );
  return [...stops, ...holidayPlaces(schedule)];
}

/** Names of the calendars that a document needs, each once. */
export const calendarNamesOf = ({ schedule }: Pick<JobDocument, 'schedule'>): string[] => [
  ...new Set(calendarPlaces(schedule).map(({ name }) => name)),
];

/** Names of a team's calendars, of which the nearest is told to who has mistaken one. */
async function calendarNames(database: Queryable, team: string): Promise<string[]> {
  const { rows } = await database.query<{ name: string }>({
    name: 'calendar-names',
    text: 'SELECT name FROM calendars WHERE team = $1 AND deleted_at IS NULL ORDER BY name LIMIT 1000',
    values: [team],
  });
  return rows.map(({ name }) => name);
}

function missingErrors(
  schedule: Schedule | undefined,
  found: { has(name: string): boolean },
  known: readonly string[],
  before: string,
): FieldError[] {
  return calendarPlaces(schedule)
    .filter(({ name }) => !found.has(name))
    .map(({ path, name }) => ({
      path: before + path,
      message: `there is no calendar ${nearest(name, known)} Create it with POST /api/v1/calendars`,
      code: 'unknown_calendar',
    }));
}

type Named = Pick<JobDocument, 'schedule'>;

/**
 * Which of many documents name calendars that do not exist, by their place; asked with one query or two, if at all. Nothing is locked.
 * @param before where the schedule stands in what was sent.
 */
export async function unknownCalendars(
  database: Queryable,
  team: string,
  documents: readonly Named[],
  before = '/schedule',
): Promise<Map<number, FieldError[]>> {
  const names = [...new Set(documents.flatMap(calendarNamesOf))];
  if (names.length === 0) return new Map();
  const { rows } = await database.query<{ name: string }>({
    name: 'calendars-known',
    text: 'SELECT name FROM calendars WHERE team = $1 AND name = ANY ($2::text[]) AND deleted_at IS NULL',
    values: [team, names],
  });
  return errorsOf(database, team, documents, new Set(rows.map(({ name }) => name)), before);
}

async function errorsOf(
  database: Queryable,
  team: string,
  documents: readonly Named[],
  found: ReadonlySet<string>,
  before = '/schedule',
): Promise<Map<number, FieldError[]>> {
  const wrong = [...documents.entries()].filter(([, document]) => calendarNamesOf(document).some((name) => !found.has(name)));
  if (wrong.length === 0) return new Map();
  const known = await calendarNames(database, team);
  return new Map(wrong.map(([nth, { schedule }]) => [nth, missingErrors(schedule, found, known, before)]));
}

/**
 * Holds the calendars that documents name against change and removal until the transaction ends, and makes their stretches in the zones of those schedules.
 * @returns what is wrong with those that name a calendar that does not exist, by their place.
 */
export async function holdCalendars(tx: Transaction, team: string, documents: readonly Named[]): Promise<Map<number, FieldError[]>> {
  const names = [...new Set(documents.flatMap(calendarNamesOf))];
  if (names.length === 0) return new Map();
  const calendars = await calendarsShare(tx, team, names);
  const now = new Date();
  const read = new Map<string, Map<string, KeptCalendar>>();
  for (const { schedule } of documents)
    for (const name of [...(schedule?.include ?? []), ...(schedule?.exclude ?? [])]) {
      const calendar = calendars.get(name);
      if (!calendar) continue;
      const zone = read.get(schedule!.timezone) ?? new Map<string, KeptCalendar>();
      read.set(schedule!.timezone, zone.set(name, calendar));
    }
  for (const [zone, ofZone] of [...read].sort(([a], [b]) => (a < b ? -1 : 1))) await spansEnsure(tx, team, [...ofZone.values()], zone, now);
  return errorsOf(tx, team, documents, new Set(calendars.keys()));
}

/** The same for one document. @throws JobError `invalid` */
export async function checkCalendars(tx: Transaction, document: JobDocument): Promise<void> {
  const errors = (await holdCalendars(tx, document.team, [document])).get(0);
  if (errors) throw invalidJob(errors);
}
