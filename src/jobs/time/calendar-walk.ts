/**
 * The next time of one calendar, to the second as Temporal's server (1.29 to 1.32) computes it.
 *
 * A slot exists for us exactly when Temporal fires it, so the server's behaviour is reproduced whole, its oddities included. The server walks wall times from
 * large to small unit and turns each candidate into a moment with Go's `time.Date`, which knows nothing of repeated hours; a one-hour correction (`late` here) makes
 * up for that. What follows from it:
 * - a wall time in a gap does not fire;
 * - west of Greenwich a repeated wall time fires twice;
 * - east of Greenwich `time.Date` picks the *second* of two equal wall times, so that a daily job in a repeated hour fires once, the second time, and an hourly job
 *   leaves out one of the two; sub-hourly jobs miss slots around the change;
 * - west of Greenwich, where the gap begins at midnight (Santiago, Havana), the weekday of that day is taken from the evening before.
 */
import { dateOf, dayNumber, daysIn, weekdayOf } from './civil-day.ts';
import type { Calendar } from './cron.ts';
import { FIELD_LIMITS, type Field, valuesOf } from './ranges.ts';
import type { Zone } from './zone.ts';

const HOUR_S = 3_600;
const DAY_S = 86_400;
/** The server looks no further. */
const LAST_YEAR = 2100;

/** For each field a table: the smallest matching number that is not less than the index, or one past the field's last. */
export type CompiledCalendar = Record<Exclude<Field, 'dayOfWeek'>, Uint8Array> & { dayOfWeek: Uint8Array; anyDayOfWeek: boolean };

export function compileCalendar(calendar: Calendar): CompiledCalendar {
  const weekdays = new Uint8Array(7);
  for (const day of valuesOf(calendar.dayOfWeek)) weekdays[day] = 1;
  return {
    second: following(calendar, 'second'),
    minute: following(calendar, 'minute'),
    hour: following(calendar, 'hour'),
    dayOfMonth: following(calendar, 'dayOfMonth'),
    month: following(calendar, 'month'),
    dayOfWeek: weekdays,
    anyDayOfWeek: weekdays.every((allowed) => allowed === 1),
  };
}

function following(calendar: Calendar, field: Field): Uint8Array {
  const last = FIELD_LIMITS[field][1];
  const matching = new Set(valuesOf(calendar[field]));
  const table = new Uint8Array(last + 2).fill(last + 1);
  for (let value = last; value >= 0; value -= 1) table[value] = matching.has(value) ? value : table[value + 1]!;
  return table;
}

/**
 * The first matching moment after `afterS`.
 * @param afterS epoch seconds.
 * @param found is told the wall time that matched, as if it were UTC.
 * @returns epoch seconds, or null when nothing matches up to the year 2100.
 */
export function nextOfCalendar(calendar: CompiledCalendar, zone: Zone, afterS: number, found?: { wallS: number }): number | null {
  const wall = afterS + zone.offsetAt(afterS);
  const days = Math.floor(wall / DAY_S);
  let { year, month, day } = dateOf(days);
  const time = wall - days * DAY_S;
  let hour = Math.floor(time / HOUR_S);
  let minute = Math.floor((time % HOUR_S) / 60);
  let second = (time % 60) + 1;
  // An hour ago it was the same hour: this is the second copy of a repeated one.
  let late = hourOf(afterS - HOUR_S + zone.offsetAt(afterS - HOUR_S)) === hour ? HOUR_S : 0;

  for (;;) {
    if (second >= 60) {
      minute += 1;
      second = 0;
    }
    if (minute >= 60) {
      const midnight = dayNumber(year, month, day) * DAY_S;
      const gone = zone.epochOf(midnight + (hour + 1) * HOUR_S) - zone.epochOf(midnight + hour * HOUR_S);
      minute = 0;
      // More than an hour went by: the second copy of this hour is still to come.
      if (late === 0 && gone > HOUR_S) late = HOUR_S;
      else {
        hour += 1;
        late = 0;
      }
    }
    if (hour >= 24) {
      day += 1;
      hour = 0;
    }
    if (day > daysIn(month, year)) {
      month += 1;
      day = 1;
    }
    if (month > 12) {
      year += 1;
      month = 1;
    }
    if (year > LAST_YEAR) return null;

    const nextMonth = calendar.month[month]!;
    if (nextMonth !== month) {
      month = nextMonth;
      day = 1;
      hour = minute = second = late = 0;
      if (month > 12) continue;
    }
    const length = daysIn(month, year);
    while (day <= length && !(calendar.dayOfMonth[day] === day && matchesWeekday(calendar, zone, year, month, day, hour, minute, second))) {
      day = Math.max(day + 1, calendar.dayOfMonth[day]!);
      hour = minute = second = late = 0;
    }
    if (day > length) {
      // The loop's head carries one day too many into the next month, whatever the number is.
      day = length + 1;
      continue;
    }
    const nextHour = calendar.hour[hour]!;
    if (nextHour !== hour) {
      hour = nextHour;
      minute = second = late = 0;
      if (hour > 23) continue;
    }
    const nextMinute = calendar.minute[minute]!;
    if (nextMinute !== minute) {
      minute = nextMinute;
      second = 0;
      if (minute > 59) continue;
    }
    second = calendar.second[second]!;
    if (second > 59) continue;

    const wallS = dayNumber(year, month, day) * DAY_S + hour * HOUR_S + minute * 60 + second;
    const candidate = zone.epochOf(wallS);
    if (hourOf(candidate + zone.offsetAt(candidate)) === hour) {
      if (found) found.wallS = wallS;
      return candidate + late;
    }
    // The wall time lies in a gap.
    hour += 1;
    minute = second = 0;
  }
}

/** The weekday is that of the moment the wall time resolves to, which in a gap at midnight can be the day before. */
function matchesWeekday(
  calendar: CompiledCalendar,
  zone: Zone,
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
): boolean {
  if (calendar.anyDayOfWeek) return true;
  const moment = zone.epochOf(dayNumber(year, month, day) * DAY_S + hour * HOUR_S + minute * 60 + second);
  const days = Math.floor((moment + zone.offsetAt(moment)) / DAY_S);
  return calendar.dayOfWeek[weekdayOf(days)] === 1;
}

const hourOf = (wallS: number) => Math.floor((((wallS % DAY_S) + DAY_S) % DAY_S) / HOUR_S);
