/** RRULE (RFC 5545, section 3.3.10): refused when it makes no sense, else worked out on the wall. Zones come afterwards. */
import { RRuleTemporal } from 'rrule-temporal';
import { IcsProblem, MOST_STEPS, tooOften } from './ics-problem.ts';
import { type IcsTime, parseTime } from './ics-times.ts';
import { daysOfMonth } from './local-time.ts';

/** `text` is the rule without its UNTIL, which is a time of a zone and not of the wall. */
export type IcsRule = { text: string; until: IcsTime | null };

/** Periods after which the days of a rule come again: four hundred years, whatever the interval. Who has not come once by then never does. */
const PERIODS: Record<string, number> = { YEARLY: 400, MONTHLY: 4_800, WEEKLY: 20_871, DAILY: MOST_STEPS };
const FREQUENCIES = Object.keys(PERIODS);
const SHORT_FREQUENCIES = ['HOURLY', 'MINUTELY', 'SECONDLY'];
/** Least and most of the numbers of a part; a least below zero counts from the end, and zero is none then. The reckoner leaves out others silently. */
const NUMBERS: Record<string, readonly [number, number]> = {
  COUNT: [1, 1_000_000],
  INTERVAL: [1, 1_000_000],
  BYMONTH: [1, 12],
  BYMONTHDAY: [-31, 31],
  BYYEARDAY: [-366, 366],
  BYWEEKNO: [-53, 53],
  BYSETPOS: [-366, 366],
  BYHOUR: [0, 23],
  BYMINUTE: [0, 59],
  BYSECOND: [0, 59],
};
const OTHER_PARTS = ['FREQ', 'UNTIL', 'BYDAY', 'WKST'];
/** One that names every day of the year, every hour, minute and second has less. */
const LONGEST_RULE = 3_000;

/** Reads a rule that has been checked. */
export function readRule(text: string): IcsRule {
  const until = partsOfRule(text).get('UNTIL');
  const others = text.split(';').filter((part) => part.trim() !== '' && !/^\s*UNTIL=/i.test(part));
  return { text: others.join(';'), until: until === undefined ? null : parseTime(until) };
}

const partsOfRule = (text: string): Map<string, string> =>
  new Map(
    text
      .split(';')
      .filter((part) => part.trim() !== '')
      .map((part) => {
        const [name = '', ...value] = part.split('=');
        return [name.trim().toUpperCase(), value.join('=').trim().toUpperCase()];
      }),
  );

/** What is wrong with the rule of an event that begins at this second of the wall, to stand after "with an RRULE"; null when it is right. */
export function ruleProblem(text: string, startW: number): string | null {
  if (text.length > LONGEST_RULE) return `of ${text.length} characters, more than ${LONGEST_RULE}; write several events with simpler rules`;
  const parts = partsOfRule(text);
  const frequency = parts.get('FREQ') ?? '';
  if (SHORT_FREQUENCIES.includes(frequency))
    return `that repeats ${frequency}; write one that repeats daily or less often, with a longer event`;
  if (!FREQUENCIES.includes(frequency)) return `of an invalid frequency, ${cut(frequency)}; write ${FREQUENCIES.join(', ')}`;
  for (const [name, value] of parts) {
    const wrong = partProblem(name, value);
    if (wrong) return wrong;
  }
  if (parts.has('COUNT') && parts.has('UNTIL')) return 'with both COUNT and UNTIL; take one of them out';
  const months = numbersOf(parts.get('BYMONTH'));
  const days = numbersOf(parts.get('BYMONTHDAY'));
  const exists = (month: number) => days?.some((day) => Math.abs(day) <= daysOfMonth(month));
  if (months && days && !months.some(exists))
    return `of a day that does not exist (month ${months.join()}, day ${days.join()}); correct it`;
  try {
    if (reckoner(readRule(text), startW, PERIODS[frequency]!).next(dateOf(startW), true)) return null;
  } catch (error) {
    const said = error instanceof Error ? error.message : '';
    if (said.startsWith('Maximum candidate')) return 'that names too many times at once; write a longer event with fewer BY parts';
    if (!isTooMuch(said)) return `that can not be worked out: ${said.slice(0, 100)}; correct it`;
  }
  return 'that never happens; correct its BY parts, or take it out';
}

function partProblem(name: string, value: string): string | null {
  if (name === 'UNTIL') return parseTime(value) ? null : `with an UNTIL that does not exist, ${cut(value)}; correct it or take it out`;
  if (OTHER_PARTS.includes(name)) return null;
  const range = Object.hasOwn(NUMBERS, name) ? NUMBERS[name] : undefined;
  if (!range) return `with the part ${cut(name)}, which is not known; take it out`;
  const [least, most] = range;
  const isRight = (text: string) =>
    /^[+-]?\d{1,7}$/.test(text) && Number(text) >= least && Number(text) <= most && (least >= 0 || Number(text) !== 0);
  if (value.split(',').every(isRight)) return null;
  return `with ${name}=${cut(value)}; write ${least < 0 ? `1 to ${most}, or -1 to ${least}` : `${least} to ${most}`}`;
}

const numbersOf = (value: string | undefined): number[] | undefined => value?.split(',').map(Number);
const cut = (text: string): string => JSON.stringify(text.slice(0, 20));

/**
 * The occurrences from one second of the wall to another, both included, without regard to UNTIL.
 * @throws IcsProblem when they are too many.
 */
export function occurrencesOf(rule: IcsRule, startW: number, fromW: number, toW: number): number[] {
  if (toW < Math.max(startW, fromW)) return [];
  try {
    return reckoner(rule, startW)
      .between(dateOf(Math.max(startW, fromW)), dateOf(toW), true)
      .map(({ epochMilliseconds }) => epochMilliseconds / 1_000);
  } catch (error) {
    const said = error instanceof Error ? error.message : 'unknown rule';
    throw isTooMuch(said) ? tooOften() : new IcsProblem(`can not be worked out: ${said.slice(0, 100)}; export it again`);
  }
}

const dateOf = (wallS: number): Date => new Date(wallS * 1_000);
const isTooMuch = (said: string): boolean => said.startsWith('Maximum ');

/** The wall is reckoned as if it were UTC, where every day has 24 hours. */
const reckoner = ({ text }: IcsRule, startW: number, maxIterations = MOST_STEPS): RRuleTemporal =>
  new RRuleTemporal({
    rruleString: `DTSTART:${dateOf(startW).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z\nRRULE:${text.toUpperCase()}`,
    strict: true,
    maxIterations,
    maxCandidateEvaluations: MOST_STEPS,
    cache: false,
  });
