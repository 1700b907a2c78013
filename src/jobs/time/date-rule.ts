/**
 * Days that no calendar of Temporal can say, worked out by us: the last Friday, the third business day, the day before the last. Each is a wall time like
 * that of any calendar; the clock carries them as dated extras.
 */
import { dateOf, dayNumber, daysIn, weekdayOf } from './civil-day.ts';

/** All conditions hold together; an empty list does not restrict. JSON-serialisable and canonical: lists ascending, each value once. */
export type DateRule = {
  /** Seconds of the day. */
  at: number[];
  /** 1 to 12. */
  months: number[];
  /** 0 (Sunday) to 6. */
  weekdays: number[];
  /** 1 to 31, or -1 (the month's last) to -31. */
  daysOfMonth: number[];
  /** Of the days of the month that the other conditions leave: 1 the first, -1 the last. */
  nth: number[];
  /** Days that do not count, `2026-12-25`. */
  holidays: string[];
};

const DAY_S = 86_400;
const NONE: number[] = [];
const LAST_YEAR = 2100;

/** Answers with the first wall time after another, both in seconds since 1970 as if the wall showed UTC; null when there is none up to 2100. */
export type WallSource = (afterWallS: number) => number | null;

export function createDateSource(rule: DateRule): WallSource {
  const months = new Set(rule.months);
  const weekdays = new Set(rule.weekdays);
  const holidays = new Set(rule.holidays.map((day) => Date.parse(`${day}T00:00:00Z`) / 1_000 / DAY_S));

  /** Questions come in order, and again for the same month. */
  const known = new Map<number, number[]>();
  function daysOf(year: number, month: number): number[] {
    if (months.size > 0 && !months.has(month)) return NONE;
    const key = year * 12 + month;
    let days = known.get(key);
    if (!days) {
      days = workOut(year, month);
      known.set(key, days);
    }
    return days;
  }

  /** Day numbers of one month, ascending. */
  function workOut(year: number, month: number): number[] {
    const first = dayNumber(year, month, 1);
    const length = daysIn(month, year);
    const days: number[] = [];
    for (let day = first; day < first + length; day += 1) {
      if (weekdays.size > 0 && !weekdays.has(weekdayOf(day))) continue;
      if (holidays.has(day)) continue;
      const ofMonth = day - first + 1;
      if (rule.daysOfMonth.length > 0 && !rule.daysOfMonth.includes(ofMonth) && !rule.daysOfMonth.includes(ofMonth - length - 1)) continue;
      days.push(day);
    }
    if (rule.nth.length === 0) return days;
    const chosen = rule.nth.map((nth) => days[nth > 0 ? nth - 1 : days.length + nth]).filter((day) => day !== undefined);
    return [...new Set(chosen)].sort((a, b) => a - b);
  }

  return (afterWallS) => {
    let { year, month } = dateOf(Math.floor(afterWallS / DAY_S));
    for (; year <= LAST_YEAR; month += 1) {
      if (month > 12) {
        month = 0;
        year += 1;
        continue;
      }
      for (const day of daysOf(year, month)) {
        if ((day + 1) * DAY_S <= afterWallS) continue;
        for (const second of rule.at) if (day * DAY_S + second > afterWallS) return day * DAY_S + second;
      }
    }
    return null;
  };
}

/** A source that remembers its last answer: from any later start before it the answer is the same. */
export function remembering(source: WallSource): WallSource {
  let from = Number.POSITIVE_INFINITY;
  let next: number | null = null;
  return (afterWallS) => {
    if (afterWallS >= from && (next === null || afterWallS < next)) return next;
    from = afterWallS;
    next = source(afterWallS);
    return next;
  };
}
