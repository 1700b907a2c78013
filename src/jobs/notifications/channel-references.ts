/** Rules name channels: those that are not there are refused, with the nearest that is; so are kinds that a channel can do nothing with. */
import type { Queryable } from '../../postgres.ts';
import type { FieldError } from '../errors.ts';
import { nearest } from '../job-issues.ts';
import { channelNames, channelsNamed } from './channel-store.ts';

export type NamedRule = { on: readonly string[]; channel: string };

/** Rules of many documents at once, each with the place where they stand. */
export type PlacedRules = { path: string; rules: readonly NamedRule[] };

/**
 * What is wrong with rules, as far as channels are concerned; asked with one query, if at all.
 * @param lock true in a transaction that writes the rules: the channels stay until it ends.
 */
export async function channelErrors(
  database: Queryable,
  team: string,
  placed: readonly PlacedRules[],
  { lock }: { lock: boolean },
): Promise<(FieldError & { nth: number })[]> {
  const names = [...new Set(placed.flatMap(({ rules }) => rules.map((rule) => rule.channel)))];
  if (names.length === 0) return [];
  const types = await channelsNamed(database, team, names, { lock });
  const all = names.every((name) => types.has(name)) ? [] : await channelNames(database, team);
  return placed.flatMap(({ path, rules }, nth) =>
    rules.flatMap(({ on, channel }, index) => {
      const type = types.get(channel);
      if (type === undefined) return [{ nth, path: `${path}/${index}/channel`, message: unknown(channel, all), code: 'unknown_channel' }];
      if (type === 'pagerduty' && on.includes('succeeded')) {
        const message = 'a PagerDuty channel opens alerts, and a success is none; tell it to another channel';
        return [{ nth, path: `${path}/${index}/on`, message, code: 'unfit_kind' }];
      }
      return [];
    }),
  );
}

const unknown = (name: string, known: readonly string[]): string =>
  known.length === 0
    ? `there is no channel ${nearest(name, known)} yet; make it with POST /api/v1/channels`
    : `unknown channel ${nearest(name, known)} GET /api/v1/channels lists all`;
