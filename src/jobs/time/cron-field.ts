/** One field of a cron text: lists, steps, ranges and names. Answers with the numbers it means, or with the sentence that says what is wrong and the cure. */
import { FIELD_LIMITS, type Field } from './ranges.ts';

/** `starred`: the text begins with `*` (or `?`), which crontab(5) counts as "not restricted" even with a step. */
export type CronField = { values: Set<number>; starred: boolean };

const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];
const DAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];
const LABELS: Record<Field, string> = {
  second: 'second',
  minute: 'minute',
  hour: 'hour',
  dayOfMonth: 'day of month',
  month: 'month',
  dayOfWeek: 'day of week',
};
/** The `every` unit a too large step was probably meant in. */
const STEP_UNIT: Partial<Record<Field, string>> = { second: 's', minute: 'm', hour: 'h', dayOfMonth: 'd' };

/**
 * Reads one field.
 * @returns the field, or a sentence without subject ("has …") for the error message.
 */
export function parseCronField(field: Field, text: string): CronField | string {
  const values = new Set<number>();
  for (const item of text.split(',')) {
    const problem = addItem(field, item, text, values);
    if (problem) return problem;
  }
  return { values, starred: /^[*?]/.test(text) };
}

function addItem(field: Field, item: string, whole: string, values: Set<number>): string | null {
  const [min, max] = FIELD_LIMITS[field];
  const label = LABELS[field];
  if (item === '') return `has an empty part in its ${label} "${whole}"; remove the extra comma`;
  const unsupported = unsupportedSign(field, item);
  if (unsupported) return unsupported;

  const [base = '', stepText, ...moreSteps] = item.split('/');
  if (moreSteps.length > 0) return `has more than one "/" in its ${label} "${item}"; write one step, e.g. ${min}-${max}/5`;
  const step = readStep(field, item, base, stepText);
  if (typeof step === 'string') return step;
  const range = readRange(field, item, base, stepText !== undefined);
  if (typeof range === 'string') return range;
  // Day of week 7 is Sunday, which is 0.
  for (let value = range[0]; value <= range[1]; value += step) values.add(field === 'dayOfWeek' ? value % 7 : value);
  return null;
}

function unsupportedSign(field: Field, item: string): string | null {
  const label = LABELS[field];
  if (item.includes('#'))
    return `has "#" in its ${label} "${item}", which is not supported; write the days of the month it can fall on (first week: 1-7) and let the job check the weekday`;
  const bare = item.replaceAll(/[A-Za-z]{2,}/g, (word) => (isName(field, word) ? '' : word));
  if (/^(L|LW|WL|\d+L|L-\d+)$/i.test(bare) || (field === 'dayOfWeek' && /L$/i.test(bare))) {
    return `has "L" in its ${label} "${item}", which is not supported; write the days, e.g. 28 for a day every month has`;
  }
  if (/^(\d*W)$/i.test(bare))
    return `has "W" in its ${label} "${item}", which is not supported; write the weekdays, e.g. MON-FRI in the day of week`;
  if (/^H\b/i.test(bare)) return `has "H" in its ${label} "${item}", which is not supported; write a number, and use jitter to spread jobs`;
  return null;
}

function readStep(field: Field, item: string, base: string, stepText: string | undefined): number | string {
  if (stepText === undefined) return 1;
  const label = LABELS[field];
  const [min, max] = FIELD_LIMITS[field];
  if (stepText === '') return `has no number after "/" in its ${label} "${item}"; write e.g. */5`;
  if (!/^\d+$/.test(stepText)) return `has a step that is not a whole number in its ${label} "${item}"; write e.g. */5`;
  const step = Number(stepText);
  if (step === 0) return `has step 0 in its ${label} "${item}"; the smallest step is 1`;
  if (step > max - min + 1) {
    const unit = STEP_UNIT[field];
    return `has step ${stepText} in its ${label} "${item}", larger than ${min}-${max}; a step starts anew each time${unit ? `: for that interval use every: ${stepText}${unit}` : ', write a smaller one'}`;
  }
  // Elsewhere 1/2 means "1-6/2", "1-7/2" (Sunday too) or just 1.
  if (field === 'dayOfWeek' && !/^[*?]$/.test(base) && !base.includes('-'))
    return `has a step without a range in its day of week "${item}"; write the range, e.g. ${base}-6/${stepText}`;
  return step;
}

function readRange(field: Field, item: string, base: string, hasStep: boolean): [number, number] | string {
  const [min, max] = FIELD_LIMITS[field];
  const label = LABELS[field];
  if (base === '*' || base === '?') return [min, max];
  if (base === '') return `has no value before "/" in its ${label} "${item}"; write e.g. *${item}`;
  const [from = '', to, ...more] = base.split('-');
  if (more.length > 0 || from === '' || to === '')
    return `has a range that is not "from-to" in its ${label} "${item}"; write e.g. ${min}-${max} (numbers are never negative)`;
  const start = readValue(field, item, from);
  if (typeof start === 'string') return start;
  if (to === undefined) return [start, hasStep ? max : start];
  let end = readValue(field, item, to);
  if (typeof end === 'string') return end;
  // FRI-SUN ends with the Sunday after Friday.
  if (field === 'dayOfWeek' && end === 0 && /^sun$/i.test(to) && start > 0) end = 7;
  if (end < start) return `has the range "${base}" in its ${label}, which goes backwards; write "${forwards(field, start, end)}"`;
  return [start, end];
}

/** How to write a range that wraps around: 22-2 → 22-23,0-2. */
function forwards(field: Field, start: number, end: number): string {
  const [min, max] = FIELD_LIMITS[field];
  const span = (from: number, to: number) => (from === to ? String(from) : `${from}-${to}`);
  if (field === 'dayOfWeek' && start === 7) return span(0, end);
  return `${span(start, max)},${span(min, end)}`;
}

function readValue(field: Field, item: string, text: string): number | string {
  const [min, max] = FIELD_LIMITS[field];
  const label = LABELS[field];
  if (/^\d+$/.test(text)) {
    const value = Number(text);
    const highest = field === 'dayOfWeek' ? 7 : max;
    if (value < min || value > highest) return `has ${text} in its ${label}, out of range; write ${min} to ${highest}`;
    return value;
  }
  const names = namesOf(field);
  const index = names.indexOf(text.toUpperCase());
  if (index >= 0) return index + min;
  const allowed = names.length > 0 ? `${min} to ${field === 'dayOfWeek' ? 7 : max} or ${names[0]} to ${names.at(-1)}` : `${min} to ${max}`;
  return `has "${text}" in its ${label} "${item}", which is not a number; write ${allowed}`;
}

const namesOf = (field: Field) => (field === 'month' ? MONTHS : field === 'dayOfWeek' ? DAYS : []);
const isName = (field: Field, word: string) => namesOf(field).includes(word.toUpperCase());
