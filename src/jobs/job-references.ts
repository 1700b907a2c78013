/** What a document names outside itself: handlers that live workers offer, services that are registered, channels. */
import type { Queryable } from '../postgres.ts';
import type { FieldError } from './errors.ts';
import { invalidJob, type JobDocument } from './job-document.ts';
import { nearest } from './job-issues.ts';
import { channelErrors } from './notifications/channel-references.ts';

/** A worker that has not been seen for this long does not count. */
const LIVE_S = 30;
/** A handler that was offered a moment ago is not asked for again at every create. */
const KNOWN_FOR_MS = 2_000;

/** Names of the services a document needs, each once. */
export function servicesOf(document: JobDocument): string[] {
  const target = document.target.type === 'http' ? document.target.service : undefined;
  return [...new Set([document.service, target].filter((name) => name !== undefined))];
}

/** Where in the document the missing services are named. */
export function missingServiceErrors(document: JobDocument, missing: readonly string[]): FieldError[] {
  const places: [string, string | undefined][] = [
    ['/service', document.service],
    ['/target/service', document.target.type === 'http' ? document.target.service : undefined],
  ];
  return places.flatMap(([path, name]) =>
    name !== undefined && missing.includes(name)
      ? [
          {
            path,
            message: `${JSON.stringify(name)} is not a registered service; register it with POST /api/v1/services`,
            code: 'unknown_service',
          },
        ]
      : [],
  );
}

/**
 * Locks the services a document needs against removal until the transaction ends.
 * @throws JobError `invalid` naming the ones that are not registered.
 */
export async function checkServices(tx: Queryable, document: JobDocument): Promise<void> {
  const names = servicesOf(document);
  if (names.length === 0) return;
  const { rows } = await tx.query<{ name: string }>({
    name: 'services-lock',
    text: 'SELECT name FROM services WHERE team = $1 AND name = ANY ($2::text[]) ORDER BY name FOR KEY SHARE',
    values: [document.team, names],
  });
  const known = new Set(rows.map((row) => row.name));
  const missing = names.filter((name) => !known.has(name));
  if (missing.length > 0) throw invalidJob(missingServiceErrors(document, missing));
}

/** Handlers of all live workers: null when no worker is live, so nothing can be said. */
export async function liveHandlers(database: Queryable): Promise<string[] | null> {
  const { rows } = await database.query<{ names: string[] | null; workers: string }>({
    name: 'live-handlers',
    text: `SELECT count(DISTINCT w.id) AS workers, array_agg(DISTINCT h ->> 'name') FILTER (WHERE h IS NOT NULL) AS names
             FROM workers w LEFT JOIN LATERAL json_array_elements(w.handlers) h ON true
            WHERE w.seen_at > now() - make_interval(secs => $1)`,
    values: [LIVE_S],
  });
  const row = rows[0];
  return !row || Number(row.workers) === 0 ? null : (row.names ?? []).sort();
}

function unknownHandler(name: string, offered: readonly string[]): FieldError {
  const known = offered.length === 0 ? 'no live worker offers any handler' : `live workers offer ${offered.join(', ')}`;
  return { path: '/target/name', message: `unknown handler ${nearest(name, offered)} (${known})`, code: 'unknown_handler' };
}

/** Which of many documents name a handler that no live worker offers, by their place; asked with one query, if at all. */
export async function unknownHandlers(database: Queryable, documents: readonly JobDocument[]): Promise<[number, FieldError][]> {
  const named = documents.flatMap(({ target }, nth) => (target.type === 'handler' ? [{ nth, name: target.name }] : []));
  const offered = named.length === 0 ? null : await liveHandlers(database);
  if (offered === null) return [];
  const known = new Set(offered);
  return named.flatMap(({ nth, name }): [number, FieldError][] => (known.has(name) ? [] : [[nth, unknownHandler(name, offered)]]));
}

/** Which of these services are not registered; nothing is locked. */
export async function unknownServices(database: Queryable, team: string, names: readonly string[]): Promise<string[]> {
  const asked = [...new Set(names)];
  if (asked.length === 0) return [];
  const { rows } = await database.query<{ name: string }>({
    name: 'services-unknown',
    text: 'SELECT unnest($2::text[]) AS name EXCEPT SELECT name FROM services WHERE team = $1',
    values: [team, asked],
  });
  return rows.map((row) => row.name);
}

/** Checks that a handler exists: refused only when workers are live and none of them offers it (a worker may be deployed after its jobs). */
export function createHandlerCheck(): (database: Queryable, document: JobDocument) => Promise<void> {
  const seen = new Map<string, number>();
  return async (database, { target }) => {
    if (target.type !== 'handler' || (seen.get(target.name) ?? Number.NEGATIVE_INFINITY) > performance.now() - KNOWN_FOR_MS) return;
    const names = await liveHandlers(database);
    if (names === null) return;
    if (!names.includes(target.name)) throw invalidJob([unknownHandler(target.name, names)]);
    seen.clear();
    for (const name of names) seen.set(name, performance.now());
  };
}

/**
 * Which of many documents of one team name channels that are not there, by their place; asked with one query, if at all. A channel that is there stays until the
 * document is written: the database sees to that (migrations/0018).
 */
export async function unknownChannels(database: Queryable, documents: readonly JobDocument[]): Promise<[number, FieldError][]> {
  const placed = documents.map(({ notify = [] }) => ({ path: '/notify', rules: notify }));
  const errors = await channelErrors(database, documents[0]?.team ?? '', placed, { lock: false });
  return errors.map(({ nth, ...error }) => [nth, error]);
}

/** @throws JobError `invalid` naming the channels that are not there. */
export async function checkChannels(database: Queryable, document: JobDocument): Promise<void> {
  const errors = await unknownChannels(database, [document]);
  if (errors.length > 0) throw invalidJob(errors.map(([, error]) => error));
}
