/** Quiet hours of a channel: stretches of local time in which nothing is sent but what may not wait. Messages are held and sent together at their end. */
import { z } from 'zod';
import { choice, strictShape } from '../job-issues.ts';
import { canonicalZone, zoneOf } from '../time/zone.ts';
import { NOTIFY_KINDS } from './notify-rules.ts';

/** As Date counts them. */
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
const DAY_S = 86_400;
const MOST_PERIODS = 20;
/** Whoever is quiet for longer than this would never be told anything. */
const LONGEST_MS = 7 * DAY_S * 1_000;
/** Any week without a change of clocks. */
const SOME_MONDAY = new Date('2026-01-05T00:00:00Z');

const timeOfDay = z
  .string({ error: 'must be a time of day in quotes, e.g. "22:00"' })
  .regex(/^(([01]\d|2[0-3]):[0-5]\d|24:00)$/, 'must be a time of day from "00:00" to "24:00"');

const period = strictShape(
  {
    days: z
      .array(choice(DAYS), { error: 'must be a list of days, e.g. ["sat", "sun"]' })
      .min(1, 'must name at least one day; leave it out for all')
      .max(7, 'names a day twice')
      .optional()
      .meta({ description: 'Days on which it begins; default: every day' }),
    from: timeOfDay,
    to: timeOfDay.meta({ description: 'Earlier than `from`: on the next day' }),
  },
  'days, from and to',
).refine(({ from, to }) => from !== to, { path: ['to'], message: 'must differ from `from`; a whole day is "00:00" to "24:00"' });

/** Schema of `quietHours`. */
export const quietHoursSchema = strictShape(
  {
    timezone: z
      .string({ error: 'must be the name of a time zone in quotes, e.g. "Europe/Berlin"' })
      .max(100)
      .check((payload) => {
        const zone = canonicalZone(payload.value);
        if (zone !== null) payload.value = zone;
        else
          payload.issues.push({
            code: 'custom',
            message: `${JSON.stringify(payload.value)} is not an IANA time zone; write e.g. "Europe/Berlin" or "UTC"`,
            input: payload.value,
            continue: true,
          });
      })
      .default('UTC'),
    periods: z
      .array(period, { error: 'must be a list of periods, e.g. [{ "from": "22:00", "to": "07:00" }]' })
      .min(1, 'must hold at least one period; leave quietHours out for none')
      .max(MOST_PERIODS, `has more than ${MOST_PERIODS} periods`),
    except: z
      .array(choice(NOTIFY_KINDS), { error: 'must be a list of kinds of events, e.g. ["failed_to_start"]' })
      .max(NOTIFY_KINDS.length)
      .default([])
      .meta({ description: 'Kinds that are told at any hour' }),
  },
  'timezone, periods and except',
)
  .superRefine((quiet, context) => {
    // what is wrong by itself has been said
    if (canonicalZone(quiet.timezone) === null || quiet.periods.some(({ from, to }) => from === to)) return;
    const until = quietUntil(quiet, SOME_MONDAY);
    if (until !== null && until.getTime() - SOME_MONDAY.getTime() >= LONGEST_MS)
      context.addIssue({ code: 'custom', path: ['periods'], message: 'leave no time at all; mute the channel instead' });
  })
  .meta({
    description: 'Messages are held in these hours and sent together at their end',
    example: { timezone: 'Europe/Berlin', periods: [{ from: '22:00', to: '07:00' }], except: ['failed_to_start'] },
  });
export type QuietHours = Omit<z.output<typeof quietHoursSchema>, 'except'> & { except?: readonly string[] };

/** When the quiet hours that hold at a moment end, periods that meet taken together; null outside of them. */
export function quietUntil(quiet: QuietHours, at: Date): Date | null {
  let until = endOf(quiet, at.getTime() / 1000);
  if (until === null) return null;
  const most = at.getTime() + LONGEST_MS;
  while (until * 1000 < most) {
    const further = endOf(quiet, until);
    if (further === null) break;
    until = further;
  }
  return new Date(until * 1000);
}

/** Epoch second of the latest end of the periods around a moment. */
function endOf({ timezone, periods }: QuietHours, epochS: number): number | null {
  const zone = zoneOf(timezone);
  const today = Math.floor((epochS + zone.offsetAt(Math.floor(epochS))) / DAY_S);
  let latest: number | null = null;
  for (const { days, from, to } of periods) {
    for (const day of [today - 1, today]) {
      // 1970 began with a Thursday
      if (days && !days.includes(DAYS[(day + 4) % 7]!)) continue;
      const start = zone.epochOf(day * DAY_S + secondOf(from));
      const end = zone.epochOf(day * DAY_S + secondOf(to) + (secondOf(to) <= secondOf(from) ? DAY_S : 0));
      if (start <= epochS && epochS < end && (latest === null || end > latest)) latest = end;
    }
  }
  return latest;
}

const secondOf = (time: string): number => Number(time.slice(0, 2)) * 3_600 + Number(time.slice(3)) * 60;
