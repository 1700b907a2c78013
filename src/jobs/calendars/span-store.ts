/** Statements on the stretches of calendars as admit reads them: written whole for one calendar and one zone, kept ahead by the controller. */
import type { Transaction } from '../../postgres.ts';
import type { CalendarDocument } from './calendar-document.ts';
import { calendarSpans } from './days.ts';

const DAY_S = 86_400;
/** Slots that are decided late still find the stretch they lie in. */
const BEHIND_S = 60 * DAY_S;
/** Written so far ahead; the controller writes anew before less than 400 days are left. */
const AHEAD_S = 430 * DAY_S;

export type KeptCalendar = { name: string; version: number; document: CalendarDocument };

/**
 * Calendars that are there, locked against change and removal until the transaction ends, so that whoever begins to name one finds its stretches true. Locked by name in order,
 * and never before a job's own lock.
 */
export async function calendarsShare(tx: Transaction, team: string, names: readonly string[]): Promise<Map<string, KeptCalendar>> {
  const { rows } = await tx.query<{ name: string; version: string; document: CalendarDocument }>({
    name: 'calendars-share',
    text: `SELECT name, version, document FROM calendars WHERE team = $1 AND name = ANY ($2::text[]) AND deleted_at IS NULL ORDER BY name FOR SHARE`,
    values: [team, [...new Set(names)]],
  });
  return new Map(rows.map(({ name, version, document }) => [name, { name, version: Number(version), document }]));
}

/** Makes the stretches of calendars in a zone in which no job has read them yet. The caller holds the calendars' share. */
export async function spansEnsure(
  tx: Transaction,
  team: string,
  calendars: readonly KeptCalendar[],
  zone: string,
  now: Date,
): Promise<void> {
  const { rows } = await tx.query<{ calendar: string }>({
    name: 'calendar-zones-of',
    text: 'SELECT calendar FROM calendar_zones WHERE team = $1 AND zone = $2 AND calendar = ANY ($3::text[])',
    values: [team, zone, calendars.map(({ name }) => name)],
  });
  const made = new Set(rows.map(({ calendar }) => calendar));
  const missing = calendars.filter(({ name }) => !made.has(name)).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const calendar of missing) await spansWrite(tx, team, calendar, zone, now, true);
}

/**
 * Writes the stretches of a calendar in a zone, from 60 days before a moment to 430 days behind it.
 * @param onlyNew leaves what somebody else has just written.
 */
export async function spansWrite(
  tx: Transaction,
  team: string,
  { name, version, document }: KeptCalendar,
  zone: string,
  now: Date,
  onlyNew = false,
): Promise<void> {
  const nowS = Math.floor(now.getTime() / 1_000);
  const spans = await calendarSpans(document, zone, nowS - BEHIND_S, nowS + AHEAD_S);
  const written = await tx.query({
    name: onlyNew ? 'calendar-zone-new' : 'calendar-zone-write',
    text: `INSERT INTO calendar_zones AS z (team, calendar, zone, version, spans_from, spans_until) VALUES ($1, $2, $3, $4, to_timestamp($5), to_timestamp($6))
           ON CONFLICT (team, calendar, zone) DO ${
             onlyNew
               ? 'NOTHING'
               : 'UPDATE SET version = excluded.version, spans_from = excluded.spans_from, spans_until = excluded.spans_until WHERE z.version <= excluded.version'
           }`,
    values: [team, name, zone, version, nowS - BEHIND_S, nowS + AHEAD_S],
  });
  if (written.rowCount === 0) return;
  await tx.query({
    name: 'calendar-spans-clear',
    text: 'DELETE FROM calendar_spans WHERE team = $1 AND calendar = $2 AND zone = $3',
    values: [team, name, zone],
  });
  await tx.query({
    name: 'calendar-spans-insert',
    text: `INSERT INTO calendar_spans (team, calendar, zone, from_at, to_at)
           SELECT $1, $2, $3, to_timestamp(s.from_s), to_timestamp(s.to_s) FROM unnest($4::float8[], $5::float8[]) AS s (from_s, to_s)`,
    values: [team, name, zone, spans.map(({ fromS }) => fromS), spans.map(({ toS }) => toS)],
  });
}
