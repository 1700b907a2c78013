/** Calendars that a job's schedule names: whether they exist, where in the document they stand, and their stretches in the schedule's zone. */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { FieldError } from '../errors.ts';
import { invalidJob, type JobDocument } from '../job-document.ts';
import { nearest } from '../job-issues.ts';
import type { Schedule } from '../time/schedule-document.ts';
import { calendarsShare, type KeptCalendar, spansEnsure } from './span-store.ts';

/** Where a schedule names calendars. Paths begin at the schedule. */
export function calendarPlaces(schedule: Schedule | undefined): { path: string; name: string }[] {
  return (['include', 'exclude'] as const).flatMap((key) =>
    (schedule?.[key] ?? []).map((name, index) => ({ path: `/${key}/${index}`, name })),
  );
}

/** Names of the calendars that a document needs, each once. */
export const calendarNamesOf = ({ schedule }: Pick<JobDocument, 'schedule'>): string[] => [
  ...new Set(calendarPlaces(schedule).map(({ name }) => name)),
];

/** Where names that do not exist stand, each with the nearest one that does. */
export async function missingCalendarErrors(
  database: Queryable,
  team: string,
  schedule: Schedule | undefined,
  found: ReadonlySet<string>,
  before = '/schedule',
): Promise<FieldError[]> {
  const missing = calendarPlaces(schedule).filter(({ name }) => !found.has(name));
  if (missing.length === 0) return [];
  const { rows } = await database.query<{ name: string }>({
    name: 'calendar-names',
    text: 'SELECT name FROM calendars WHERE team = $1 AND deleted_at IS NULL ORDER BY name LIMIT 1000',
    values: [team],
  });
  const known = rows.map(({ name }) => name);
  return missing.map(({ path, name }) => ({
    path: before + path,
    message: `there is no calendar ${nearest(name, known)} Create it with POST /api/v1/calendars`,
    code: 'unknown_calendar',
  }));
}

/** Which of these calendars exist; nothing is locked. */
export async function knownCalendars(database: Queryable, team: string, names: readonly string[]): Promise<Set<string>> {
  const { rows } = await database.query<{ name: string }>({
    name: 'calendars-known',
    text: 'SELECT name FROM calendars WHERE team = $1 AND name = ANY ($2::text[]) AND deleted_at IS NULL',
    values: [team, [...new Set(names)]],
  });
  return new Set(rows.map(({ name }) => name));
}

/**
 * Holds the calendars a document names against change and removal until the transaction ends, and makes their stretches in its zone.
 * @throws JobError `invalid` naming the ones that do not exist.
 */
export async function checkCalendars(tx: Transaction, document: JobDocument): Promise<void> {
  const names = calendarNamesOf(document);
  if (names.length === 0) return;
  const calendars = await calendarsShare(tx, document.team, names);
  const errors = await missingCalendarErrors(tx, document.team, document.schedule, new Set(calendars.keys()));
  if (errors.length > 0) throw invalidJob(errors);
  await makeSpans(tx, document, calendars);
}

/** Makes the stretches of calendars that are held, in the zone of a document that names them. */
export async function makeSpans(
  tx: Transaction,
  { team, schedule }: JobDocument,
  calendars: ReadonlyMap<string, KeptCalendar>,
): Promise<void> {
  const read = [...(schedule?.include ?? []), ...(schedule?.exclude ?? [])].flatMap((name) => calendars.get(name) ?? []);
  if (read.length > 0) await spansEnsure(tx, team, [...new Set(read)], schedule!.timezone);
}
