/** The `schedule` block of the job document: parsed whole, canonical texts out, unknown keys refused with the nearest known one. */
import { closest } from 'fastest-levenshtein';
import { z } from 'zod';
import { strictShape } from '../job-issues.ts';
import { ruleProblem } from './calendar-compile.ts';
import { calendarRuleSchema, MOST_RULES } from './calendar-rule.ts';
import { CronError, compileCron } from './cron.ts';
import { DurationError, durationSchema, parseDuration } from './duration.ts';
import { instantSchema } from './instant.ts';
import { canonicalZone } from './zone.ts';

const DAY_MS = 86_400_000;
/** No interval and no delay is longer than 10 years: what is due later is a date, not a distance. */
const LONGEST_MS = 3_653 * DAY_MS;
const LONGEST_JITTER_MS = DAY_MS;

const cronText = z
  .string({ error: 'must be a cron text in quotes, e.g. "0 2 * * *"' })
  .check((payload) => {
    const text = payload.value.trim();
    try {
      compileCron(text);
      payload.value = text;
    } catch (error) {
      if (!(error instanceof CronError)) throw error;
      payload.issues.push({ code: 'custom', message: error.message, input: payload.value, continue: true });
    }
  })
  .meta({ description: '5 fields, or 6 with leading seconds; lists, steps, ranges, names, @daily', example: '0 2 * * 1-5' });

const MOST_CRONS = 50;

/** Checked here and not by `max`, whose issue a union would replace by its own. */
const cronList = z
  .array(cronText)
  .min(1, 'must hold at least one cron text')
  .check((payload) => {
    if (payload.value.length <= MOST_CRONS) return;
    const message = `holds ${payload.value.length} cron texts, more than ${MOST_CRONS}; split the job`;
    payload.issues.push({ code: 'custom', message, input: payload.value.length, continue: true });
  })
  .meta({ maxItems: MOST_CRONS });

const zoneName = z
  .string()
  .check((payload) => {
    const name = canonicalZone(payload.value);
    if (name) payload.value = name;
    else payload.issues.push({ code: 'custom', message: zoneProblem(payload.value), input: payload.value, continue: true });
  })
  .meta({ description: 'IANA time zone', example: 'Europe/Berlin' });

function zoneProblem(name: string): string {
  const shown = JSON.stringify(name.slice(0, 60));
  if (/^[+-]/.test(name))
    return `${shown} is an offset, not an IANA time zone; write a name such as "Europe/Berlin", or "Etc/GMT-2" for a fixed +02:00`;
  const nearest = name.length > 60 ? '' : `, did you mean "${closest(name, ['UTC', ...Intl.supportedValuesOf('timeZone')])}"?`;
  return `${shown} is not a known IANA time zone${nearest || '; write e.g. "Europe/Berlin"'}`;
}

/** One rule or a list of them, whose union counts. */
const calendarRules = z
  .preprocess(
    (given) => (given !== undefined && !Array.isArray(given) ? [given] : given),
    z
      .array(calendarRuleSchema, { error: 'must be a rule or a list of rules' })
      .min(1, 'must hold at least one rule; leave it out instead')
      .max(MOST_RULES, `holds more than ${MOST_RULES} rules; split the job`),
  )
  .meta({
    description:
      'Days and times in words: [{"nth": "last", "weekdays": ["fri"], "at": ["17:00"]}], [{"nth": 1, "businessDays": true, "at": ["09:00"]}]',
  });

/** Two words for one thing. */
const SPREADS = ['jitter', 'spread'] as const;

const MOST_CALENDARS = 20;
const calendarNames = z
  .array(z.string({ error: 'must be the name of a calendar' }).min(1, 'must not be empty').max(100, 'has more than 100 characters'), {
    error: 'must be a list of names of calendars',
  })
  .min(1, 'must hold at least one calendar; leave it out instead')
  .max(MOST_CALENDARS, `holds more than ${MOST_CALENDARS} calendars; put their days into one`);

const dstSchema = strictShape(
  {
    gap: z.enum(['skip', 'shift'], { error: 'must be "skip" or "shift"' }).optional(),
    repeat: z.enum(['first', 'last', 'both'], { error: 'must be "first", "last" or "both"' }).optional(),
  },
  'gap and repeat, both optional',
).meta({
  description:
    'On days when clocks change. gap: a time that does not exist is left out, or runs when the clocks have jumped (default shift). repeat: a time that comes twice runs the first time, the last, or both (default first; a schedule that fires every hour goes on hour by hour unless this is written)',
});

const shape = {
  cron: z.union([cronText, cronList], { error: `must be a cron text in quotes or a list of at most ${MOST_CRONS} of them` }).optional(),
  every: durationSchema
    .optional()
    .meta({ description: 'Interval of whole seconds, at least 1 s, aligned to the epoch unless alignTo says otherwise' }),
  offset: durationSchema.optional().meta({ description: 'Shifts `every`; whole seconds, less than `every`' }),
  alignTo: z.enum(['epoch', 'creation'], { error: 'must be "epoch" or "creation"' }).optional(),
  at: instantSchema.optional().meta({ description: 'One-off: the time of the only run' }),
  delay: durationSchema.optional().meta({ description: 'One-off: the only run is this long after creation; at most 10 years' }),
  timezone: zoneName.default('UTC'),
  startAt: instantSchema.optional().meta({ description: 'No slot before this time' }),
  endAt: instantSchema.optional().meta({ description: 'No slot after this time' }),
  jitter: durationSchema
    .optional()
    .meta({ description: 'Spread: each job starts a fixed number of whole seconds within this after its slot' }),
  spread: durationSchema.optional().meta({ description: 'Another word for jitter' }),
  include: calendarNames.optional().meta({ description: 'Shared calendars: slots run only inside one of them' }),
  exclude: calendarNames.optional().meta({ description: 'Shared calendars: slots inside one of them do not run' }),
  calendar: calendarRules.optional(),
  dst: dstSchema.optional(),
};
const KNOWN_KEYS = Object.keys(shape);

/** Schema of a schedule. Output texts are canonical: durations, times in UTC, the zone's IANA spelling; cron texts are kept as written. */
export const scheduleSchema = z
  .strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys') {
        return issue.keys
          .map((key) => `unknown key ${JSON.stringify(key.slice(0, 60))}, did you mean "${closest(key.slice(0, 60), KNOWN_KEYS)}"?`)
          .join('; ');
      }
      return issue.code === 'invalid_type' ? 'must be an object with cron, every, calendar, at or delay' : undefined;
    },
  })
  .superRefine((schedule, context) => {
    for (const [key, message] of problemsOf(schedule)) context.addIssue({ code: 'custom', path: key === '' ? [] : [key], message });
  })
  .meta({ description: 'When the job fires: one or more of cron and every, or one of at and delay' });

/** What people write. */
export type ScheduleInput = z.input<typeof scheduleSchema>;
/** A parsed schedule: JSON-serialisable, canonical texts, parses to itself. */
export type Schedule = z.output<typeof scheduleSchema>;

type Problem = [key: keyof typeof shape | '', message: string];

function problemsOf(schedule: Schedule): Problem[] {
  const problems: Problem[] = [];
  const repeats = schedule.cron !== undefined || schedule.every !== undefined || schedule.calendar !== undefined;
  const once = schedule.at !== undefined ? 'at' : schedule.delay !== undefined ? 'delay' : null;
  if (!repeats && !once)
    problems.push(['', 'a schedule needs cron, every, calendar, at or delay; leave schedule out for a job that runs on demand only']);
  if (once) {
    const others = (
      [
        'cron',
        'every',
        'calendar',
        'offset',
        'alignTo',
        'startAt',
        'endAt',
        'jitter',
        'spread',
        'include',
        'exclude',
        'dst',
        ...(once === 'at' ? ['delay' as const] : []),
      ] as const
    ).filter((key) => schedule[key] !== undefined);
    for (const key of others) problems.push([key, `${key} can't stand beside ${once}, which fires once; keep one of them`]);
    problems.push(...lengthProblems('delay', ms(schedule.delay), 0, LONGEST_MS));
    return problems;
  }
  return [...problems, ...intervalProblems(schedule), ...windowProblems(schedule), ...calendarProblems(schedule)];
}

function calendarProblems({ cron, calendar, dst }: Schedule): Problem[] {
  const problems: Problem[] = [];
  if (dst !== undefined && cron === undefined && calendar === undefined)
    problems.push(['dst', 'dst is about times of day: every counts seconds and is not touched when clocks change; leave dst out']);
  for (const rule of calendar ?? []) {
    const problem = ruleProblem(rule);
    if (problem) problems.push(['calendar', problem]);
  }
  return problems;
}

function intervalProblems(schedule: Schedule): Problem[] {
  const every = ms(schedule.every);
  const offset = ms(schedule.offset);
  const problems: Problem[] = [
    ...wholeSeconds('every', every),
    ...wholeSeconds('offset', offset),
    ...SPREADS.flatMap((key) => wholeSeconds(key, ms(schedule[key]))),
  ];
  if (schedule.jitter !== undefined && schedule.spread !== undefined)
    problems.push(['spread', 'spread is another word for jitter; keep one of them']);
  if (problems.length > 0) return problems;
  problems.push(
    ...lengthProblems('every', every, 1_000, LONGEST_MS),
    ...SPREADS.flatMap((key) => lengthProblems(key, ms(schedule[key]), 0, LONGEST_JITTER_MS)),
  );
  for (const key of ['offset', 'alignTo'] as const) {
    if (schedule[key] !== undefined && every === null && (schedule.cron !== undefined || schedule.calendar !== undefined))
      problems.push([key, `${key} belongs to every; add every, or leave ${key} out`]);
  }
  if (every !== null && offset !== null && offset >= every) {
    problems.push([
      'offset',
      `offset ${schedule.offset} must be less than every ${schedule.every}; write offset: ${every >= 1_000 ? `${(offset % every) / 1_000}s` : '0s'}`,
    ]);
  }
  return problems;
}

function windowProblems({ startAt, endAt }: Schedule): Problem[] {
  if (startAt === undefined || endAt === undefined || Date.parse(endAt) > Date.parse(startAt)) return [];
  return [['endAt', `endAt ${endAt} must be after startAt ${startAt}`]];
}

function wholeSeconds(key: 'every' | 'offset' | 'jitter' | 'spread', value: number | null): Problem[] {
  if (value === null || value % 1_000 === 0) return [];
  const near = Math.max(key === 'every' ? 1 : 0, Math.round(value / 1_000));
  return [[key, `${key} must be whole seconds (is ${value / 1_000} s); write ${key}: ${near}s`]];
}

function lengthProblems(key: 'every' | 'delay' | 'jitter' | 'spread', value: number | null, least: number, most: number): Problem[] {
  if (value === null || (value >= least && value <= most)) return [];
  if (value < least) return [[key, `${key} must be at least ${least / 1_000} s; write ${key}: ${least / 1_000}s`]];
  return [[key, `${key} is too long; write at most ${most === LONGEST_MS ? '10 years (3653d), or use a cron or at' : '1d'}`]];
}

/** Null for an absent text, and for a wrong one, whose own issue says so already. */
function ms(text: string | undefined): number | null {
  try {
    return text === undefined ? null : parseDuration(text);
  } catch (error) {
    if (error instanceof DurationError) return null;
    throw error;
  }
}
