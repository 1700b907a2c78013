/** The stretch of time for which somebody asks what a calendar means. */
import { type FieldError, JobError } from '../errors.ts';
import { formatInstant, parseInstant } from '../time/instant.ts';
import { canonicalZone } from '../time/zone.ts';

const DAY_S = 86_400;
/** As far as a calendar was worked out when it was written. */
const MOST_DAYS = 800;

/**
 * @param query texts as they came; without `from` it begins now, without `to` it goes on for a year.
 * @returns epoch seconds and the zone's canonical name. @throws JobError `invalid` naming each wrong parameter.
 */
export function parseCalendarDays(query: { timezone: string; from?: string | undefined; to?: string | undefined }): {
  timezone: string;
  fromS: number;
  toS: number;
} {
  const errors: FieldError[] = [];
  const wrong = (name: string, message: string) => void errors.push({ path: `query/${name}`, message, code: 'invalid' });
  const timezone = canonicalZone(query.timezone);
  if (!timezone)
    wrong('timezone', `${JSON.stringify(query.timezone.slice(0, 60))} is not a known IANA time zone; write e.g. "Europe/Berlin"`);
  const moment = (name: 'from' | 'to', fallback: Date): Date => {
    const parsed = query[name] === undefined ? fallback : parseInstant(query[name]);
    if (typeof parsed !== 'string') return parsed;
    wrong(name, parsed);
    return fallback;
  };
  const from = moment('from', new Date());
  const to = moment('to', new Date(from.getTime() + 365 * DAY_S * 1_000));
  const fromS = Math.floor(from.getTime() / 1_000);
  const toS = Math.ceil(to.getTime() / 1_000);
  if (errors.length === 0 && toS <= fromS) wrong('to', `must be after from, ${formatInstant(from)}`);
  if (errors.length === 0 && toS - fromS > MOST_DAYS * DAY_S)
    wrong('to', `is ${Math.ceil((toS - fromS) / DAY_S)} days after from, more than ${MOST_DAYS}; ask for one stretch after the other`);
  if (errors.length === 0 && timezone) return { timezone, fromS, toS };
  const first = errors[0]!;
  throw new JobError('invalid', 'invalid_query', `The query is not valid: ${first.path.slice('query/'.length)} ${first.message}.`, {
    errors,
  });
}
