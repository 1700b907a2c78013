/** Calendars: days and hours that jobs share, their versions, and what a change of one does to the jobs that use it. */
import { z } from 'zod';
import { type CalendarView, calendarSchema } from '../jobs/calendars/calendar-document.ts';
import { calendarNotFound } from '../jobs/calendars/calendar-errors.ts';
import type { CalendarChange, Calendars } from '../jobs/calendars/calendars.ts';
import { parseCalendarDays } from '../jobs/calendars/days-query.ts';
import { formatInstant } from '../jobs/time/instant.ts';
import {
  calendarDaysSchema,
  calendarReplanSchema,
  calendarSummarySchema,
  calendarVersionSchema,
  calendarViewSchema,
} from './calendar-documents.ts';
import { cursorBinding, decodeCursor, encodeCursor } from './cursor.ts';
import { pageOf } from './documents.ts';
import { etagOf, noneMatchHit, refuseCreateOnly } from './preconditions.ts';
import { pageQuery } from './query.ts';
import { type Reply, reply } from './request.ts';
import { type RoutesOfGroup, route } from './route.ts';

const EXAMPLE = { name: 'company-holidays', holidays: [{ country: 'DE', region: 'BY' }], dates: ['12-24', '2027-01-04'] };
const ICS_EXAMPLE = [
  'BEGIN:VCALENDAR',
  'VERSION:2.0',
  'BEGIN:VEVENT',
  'UID:1@example.com',
  'DTSTART;VALUE=DATE:20261228',
  'RRULE:FREQ=YEARLY',
  'SUMMARY:Stocktaking',
  'END:VEVENT',
  'END:VCALENDAR',
  '',
].join('\r\n');
const isName = (values: unknown[]): values is [string] => values.length === 1 && typeof values[0] === 'string';
const isVersion = (values: unknown[]): values is [number] => values.length === 1 && Number.isSafeInteger(values[0]);

const dryRunQuery = z.object({
  dryRun: z
    .enum(['true', 'false'], { error: 'must be true or false' })
    .default('false')
    .transform((text) => text === 'true')
    .meta({ type: 'boolean', default: false, description: 'Answers with the jobs and slots that would change, and changes nothing' }),
});

export function createCalendarRoutes({ calendars, publicUrl }: { calendars: Calendars; publicUrl: string }): RoutesOfGroup {
  const created = (calendar: CalendarView): Reply =>
    reply(201, calendar, { Location: `${publicUrl}/api/v1/calendars/${calendar.name}`, ETag: etagOf(calendar.version) });
  const shown = (calendar: CalendarView): Reply => reply(200, calendar, { ETag: etagOf(calendar.version) });
  const answer = ({ value, created: isNew, replan }: CalendarChange): Reply => {
    if (replan) return reply(200, { dryRun: true, calendar: value, replan });
    return isNew ? created(value) : shown(value);
  };
  const CHANGED = {
    200: { description: 'Changed; with `dryRun` what would change', schema: z.union([calendarViewSchema, calendarReplanSchema]) },
    201: { description: 'Created', schema: calendarViewSchema },
  };

  return {
    group: 'schedule',
    tag: 'Calendars',
    routes: [
      route({
        method: 'get',
        path: '/api/v1/calendars',
        operationId: 'listCalendars',
        summary: 'Calendars by name, with how many jobs use each',
        query: z.object(pageQuery),
        responses: { 200: { description: 'A page of calendars', schema: pageOf(calendarSummarySchema) } },
        handle: async ({ caller, query: { cursor, limit } }) => {
          const binding = cursorBinding('calendars', {});
          const after = cursor === undefined ? null : decodeCursor(cursor, binding, isName)[0];
          const { items, next } = await calendars.list(caller, { limit, after });
          return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next]) });
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/calendars',
        operationId: 'createCalendar',
        summary: 'Create a calendar',
        body: { schema: calendarSchema, required: true, example: EXAMPLE },
        bodyLimit: 'batch',
        responses: { 201: { description: 'Created', schema: calendarViewSchema, headers: { Location: 'Address of the calendar' } } },
        problems: [409],
        handle: async ({ caller, body, idempotency }) =>
          created((await calendars.create(caller, body, { idempotency: idempotency(created) })).value),
      }),
      route({
        method: 'get',
        path: '/api/v1/calendars/:calendar',
        operationId: 'getCalendar',
        summary: 'One calendar',
        headers: ['If-None-Match'],
        responses: { 200: { description: 'The calendar', schema: calendarViewSchema }, 304: { description: 'Unchanged' } },
        handle: async ({ caller, params, header }) => {
          const { value, generation } = await calendars.get(caller, params.calendar as string);
          const headers = { ETag: etagOf(generation) };
          return noneMatchHit(header('if-none-match'), headers.ETag) ? { status: 304, json: null, headers } : reply(200, value, headers);
        },
      }),
      route({
        method: 'put',
        path: '/api/v1/calendars/:calendar',
        operationId: 'putCalendar',
        summary: 'Replace a calendar, or create it',
        query: dryRunQuery,
        body: { schema: calendarSchema, required: true, example: EXAMPLE },
        bodyLimit: 'batch',
        headers: ['If-Match'],
        responses: CHANGED,
        problems: [412],
        handle: async ({ caller, params, query: { dryRun }, body, ifMatch, header }) => {
          refuseCreateOnly(header('if-none-match'));
          return answer(await calendars.upsert(caller, params.calendar as string, body, { ifMatch, dryRun }));
        },
      }),
      route({
        method: 'patch',
        path: '/api/v1/calendars/:calendar',
        operationId: 'patchCalendar',
        summary: 'Change parts of a calendar (JSON Merge Patch, RFC 7396)',
        query: dryRunQuery,
        body: { schema: z.looseObject({}), required: true, type: 'application/merge-patch+json', example: { dates: ['12-24', '12-31'] } },
        bodyLimit: 'batch',
        headers: ['If-Match'],
        responses: { 200: CHANGED[200] },
        problems: [412],
        handle: async ({ caller, params, query: { dryRun }, body, ifMatch }) =>
          answer(await calendars.patch(caller, params.calendar as string, body, { ifMatch, dryRun })),
      }),
      route({
        method: 'delete',
        path: '/api/v1/calendars/:calendar',
        operationId: 'deleteCalendar',
        summary: 'Remove a calendar that no job names',
        headers: ['If-Match'],
        responses: { 204: { description: 'Removed' } },
        problems: [409, 412],
        handle: async ({ caller, params, ifMatch }) => {
          await calendars.remove(caller, params.calendar as string, { ifMatch });
          return { status: 204, json: null };
        },
      }),
      route({
        method: 'post',
        path: '/api/v1/calendars/:calendar/ics',
        operationId: 'importCalendar',
        summary: 'Take the events of an iCalendar file into a calendar, in place of those of the file before',
        query: dryRunQuery,
        body: {
          schema: z.string().meta({ description: 'An iCalendar file (RFC 5545)' }),
          required: true,
          type: 'text/calendar',
          example: ICS_EXAMPLE,
        },
        bodyLimit: 'batch',
        headers: ['If-Match'],
        responses: CHANGED,
        problems: [412],
        handle: async ({ caller, params, query: { dryRun }, body, ifMatch, idempotency }) =>
          answer(
            await calendars.importIcs(caller, params.calendar as string, String(body ?? ''), {
              ifMatch,
              dryRun,
              idempotency: dryRun ? undefined : idempotency(shown),
            }),
          ),
      }),
      route({
        method: 'get',
        path: '/api/v1/calendars/:calendar/days',
        operationId: 'listCalendarDays',
        summary: 'What a calendar means in a time zone: its stretches, half-open',
        query: z.object({
          timezone: z
            .string()
            .max(100)
            .default('UTC')
            .meta({ description: 'IANA time zone, as the schedule of a job names it', default: 'UTC' }),
          from: z.string().max(40).optional().meta({ description: 'RFC 3339 time; default now' }),
          to: z.string().max(40).optional().meta({ description: 'RFC 3339 time, at most 800 days later; default a year later' }),
        }),
        responses: { 200: { description: 'The stretches', schema: calendarDaysSchema } },
        handle: async ({ caller, params, query }) => {
          const { timezone, fromS, toS } = parseCalendarDays(query);
          const spans = await calendars.days(caller, params.calendar as string, timezone, fromS, toS);
          const at = (epochS: number) => formatInstant(new Date(epochS * 1_000));
          return reply(200, {
            timezone,
            from: at(fromS),
            to: at(toS),
            items: spans.map((span) => ({ from: at(span.fromS), to: at(span.toS) })),
          });
        },
      }),
      route({
        method: 'get',
        path: '/api/v1/calendars/:calendar/versions',
        operationId: 'listCalendarVersions',
        summary: 'Versions of a calendar, newest first',
        query: z.object(pageQuery),
        responses: { 200: { description: 'A page of versions', schema: pageOf(calendarVersionSchema) } },
        handle: async ({ caller, params, query: { cursor, limit } }) => {
          const binding = cursorBinding('calendar-versions', { calendar: params.calendar });
          const before = cursor === undefined ? null : decodeCursor(cursor, binding, isVersion)[0];
          const { items, next } = await calendars.versions(caller, params.calendar as string, { limit, before });
          return reply(200, { items, nextCursor: next === null ? null : encodeCursor(binding, [next]) });
        },
      }),
      route({
        method: 'get',
        path: '/api/v1/calendars/:calendar/versions/:version',
        operationId: 'getCalendarVersion',
        summary: 'One version of a calendar',
        responses: { 200: { description: 'The version', schema: calendarVersionSchema } },
        handle: async ({ caller, params }) =>
          reply(
            200,
            await calendars.version(caller, params.calendar as string, versionOf(params.calendar as string, params.version as string)),
          ),
      }),
    ],
  };
}

/** Anything that is no number of a version names one that does not exist. */
function versionOf(calendar: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw calendarNotFound(`${calendar} at version ${text.slice(0, 40)}`);
}
