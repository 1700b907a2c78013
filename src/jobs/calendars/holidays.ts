/**
 * Public holidays by country and region. The rules are data of the package date-holidays (CC-BY-SA 3.0, from Wikipedia), which is large and is loaded when
 * the first calendar asks for it.
 */
import type Holidays from 'date-holidays';
import type { FieldError } from '../errors.ts';
import { nearest } from '../job-issues.ts';
import type { HolidaySet } from './calendar-document.ts';
import { dateOfWall, wallOfDate } from './local-time.ts';
import type { WallSpan } from './spans.ts';

const HOUR_S = 3_600;
const DAY_S = 86_400;
/** A year of one country or region, with all its types. */
type Holiday = WallSpan & { type: string };

let loaded: Promise<typeof Holidays> | undefined;
const load = (): Promise<typeof Holidays> => {
  loaded ??= import('date-holidays').then((module) => module.default);
  return loaded;
};

/** Years of some hundred regions at most: what a process is asked for again and again. */
const MOST_YEARS = 500;
const years = new Map<string, Holiday[]>();

/** Countries, states of a country, and regions of a state are three levels of the package; here a region is `BY`, or `BY-A` for a part of it. */
const levelsOf = ({ country, region }: HolidaySet): [string, string | undefined, string | undefined] => {
  const [state, part] = region === undefined ? [] : region.toUpperCase().split('-');
  return [country.toUpperCase(), state, part];
};

/** What is wrong with sets of holidays: countries and regions that are not known, with the nearest that are. */
export async function holidayProblems(sets: readonly HolidaySet[]): Promise<FieldError[]> {
  if (sets.length === 0) return [];
  const known = new (await load())();
  const countries = known.getCountries('en');
  return sets.flatMap((set, index): FieldError[] => {
    const [country, state, part] = levelsOf(set);
    const error = (key: string, message: string) => [{ path: `/holidays/${index}/${key}`, message, code: `unknown_${key}` }];
    if (!Object.hasOwn(countries, country))
      return error(
        'country',
        `no holidays are known of ${nearest(set.country, Object.keys(countries))} Countries have two letters, e.g. "DE"`,
      );
    if (state === undefined) return [];
    const states = known.getStates(country, 'en') ?? {};
    if (!Object.hasOwn(states, state)) return error('region', regionProblem(set, Object.keys(states)));
    if (part === undefined) return [];
    const parts = known.getRegions(country, state, 'en') ?? {};
    return Object.hasOwn(parts, part)
      ? []
      : error('region', regionProblem(set, [state, ...Object.keys(parts).map((each) => `${state}-${each}`)]));
  });
}

function regionProblem({ country, region }: HolidaySet, known: readonly string[]): string {
  if (known.length === 0) return `no regions are known of ${country.toUpperCase()}; leave region out`;
  return `is not a known region of ${country.toUpperCase()}: ${nearest(region!, known)} Known: ${known.slice(0, 40).join(', ')}`;
}

/** The holidays of a set that begin in the years from `fromW` to `toW`, wall seconds. */
export async function holidaySpans(set: HolidaySet, fromW: number, toW: number): Promise<WallSpan[]> {
  const types: readonly string[] = set.types ?? ['public'];
  const spans: WallSpan[] = [];
  const last = Number(dateOfWall(toW).slice(0, 4));
  for (let year = Number(dateOfWall(fromW).slice(0, 4)); year <= last; year += 1)
    for (const { type, fromW: from, toW: to } of await holidaysOfYear(set, year))
      if (types.includes(type)) spans.push({ fromW: from, toW: to });
  return spans;
}

async function holidaysOfYear(set: HolidaySet, year: number): Promise<Holiday[]> {
  const levels = levelsOf(set).filter((level) => level !== undefined);
  const key = [...levels, year].join(' ');
  const known = years.get(key);
  if (known) return known;
  const [country, state, region] = levels;
  const calendar = new (await load())({ country: country!, ...(state ? { state } : {}), ...(region ? { region } : {}) });
  const holidays = calendar
    .getHolidays(year, 'en')
    .map(({ date, start, end, type }) => ({ type, ...wallsOf(date, (end.getTime() - start.getTime()) / 1_000) }));
  if (years.size >= MOST_YEARS) years.delete(years.keys().next().value as string);
  years.set(key, holidays);
  return holidays;
}

/** @param date `YYYY-MM-DD hh:mm:ss`, local. @param lengthS between two moments: a day on which clocks change has an hour more or less. */
function wallsOf(date: string, lengthS: number): WallSpan {
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0] = date.split(/[- :]/).map(Number);
  const fromW = wallOfDate(year, month, day) + hour * HOUR_S + minute * 60;
  const toW = fromW + lengthS;
  const midnight = Math.round(toW / DAY_S) * DAY_S;
  return { fromW, toW: Math.abs(toW - midnight) <= 2 * HOUR_S ? midnight : toW };
}
