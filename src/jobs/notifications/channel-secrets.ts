/**
 * What of a channel is never shown again, and how a document that was read can be written back: a secret that is shown as stars keeps its value.
 * It does not go to another place, though: whoever changes where it is sent has to say it again, so that nobody learns it by asking for a delivery.
 */
import { randomBytes } from 'node:crypto';
import type { FieldError } from '../errors.ts';
import { isObject } from '../job-json.ts';
import type { ChannelDocument } from './channel-document.ts';

export const MASK = '********';
const SECRET_BYTES = 32;

/** A signing secret in the form of Standard Webhooks. */
export const newSigningSecret = (): string => `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`;

/** Paths of the secrets that a document of this type may hold; `*` stands for every key. */
const PLACES: Record<ChannelDocument['type'], readonly string[][]> = {
  webhook: [['secret'], ['headers', '*']],
  slack: [['url']],
  email: [['smtp', 'password']],
  pagerduty: [['routingKey']],
};
/** Signs, and is never sent. */
const STAYS_HERE = '/secret';

type Secret = { pointer: string; value: string };

/** Every secret of a document with its JSON Pointer. */
function secretsOf(document: ChannelDocument | Record<string, unknown>): Secret[] {
  const places = PLACES[document.type as ChannelDocument['type']] ?? [];
  return places.flatMap(([first = '', second]) => {
    const value = (document as Record<string, unknown>)[first];
    if (second === undefined) return typeof value === 'string' ? [{ pointer: `/${first}`, value }] : [];
    if (!isObject(value)) return [];
    return Object.entries(value).flatMap(([key, inner]) =>
      (second === '*' || key === second) && typeof inner === 'string' ? [{ pointer: `/${first}/${pointed(key)}`, value: inner }] : [],
    );
  });
}
const pointed = (key: string) => key.replaceAll('~', '~0').replaceAll('/', '~1');

/** A copy in which each secret is what `replace` makes of it. */
function withSecrets<T extends object>(document: T, replace: (secret: Secret) => string): T {
  const copy = structuredClone(document) as Record<string, unknown>;
  for (const secret of secretsOf(copy)) {
    const [, first = '', second] = secret.pointer.split('/').map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    if (second === undefined) copy[first] = replace(secret);
    else (copy[first] as Record<string, unknown>)[second] = replace(secret);
  }
  return copy as T;
}

/** How a secret is shown: an address by its origin, everything else as stars. */
const shown = ({ pointer, value }: Secret) => (pointer === '/url' && URL.canParse(value) ? `${new URL(value).origin}/${MASK}` : MASK);

/** The document as anybody may see it. */
export const masked = <T extends object>(document: T): T => withSecrets(document, shown);

/** What was read of a channel, with the stars put back to what they stand for. */
export function unmasked(document: Record<string, unknown>, stored: ChannelDocument): Record<string, unknown> {
  const kept = new Map(secretsOf(stored).map((secret) => [secret.pointer, secret]));
  return withSecrets(document, (secret) => {
    const old = kept.get(secret.pointer);
    return old && secret.value === shown(old) ? old.value : secret.value;
  });
}

/** Stars that stand for nothing. */
export const maskErrors = (document: ChannelDocument): FieldError[] =>
  secretsOf(document)
    .filter(({ value }) => value.includes(MASK))
    .map(({ pointer }) => ({
      path: pointer,
      message: 'is how a secret is shown, not the secret itself; write the secret',
      code: 'masked_secret',
    }));

/** Where the secrets of a channel are sent. */
function destination(document: ChannelDocument): string {
  if (document.type === 'email') return JSON.stringify([document.smtp?.host, document.smtp?.port, document.smtp?.tls]);
  return document.type === 'slack' ? '' : new URL(document.url).origin;
}

/**
 * Secrets that would be sent to another place than the one they were given for.
 * @param given what the request itself holds: a secret that it says is meant.
 */
export function movedSecretErrors(before: ChannelDocument, after: ChannelDocument, given: unknown): FieldError[] {
  if (before.type !== after.type || destination(before) === destination(after)) return [];
  const old = new Map(secretsOf(before).map(({ pointer, value }) => [pointer, value]));
  const said = new Map(isObject(given) ? secretsOf({ ...given, type: after.type }).map(({ pointer, value }) => [pointer, value]) : []);
  return secretsOf(after)
    .filter(({ pointer, value }) => pointer !== STAYS_HERE && old.get(pointer) === value && said.get(pointer) !== value)
    .map(({ pointer }) => ({
      path: pointer,
      message: 'must be said again, because it would be sent to another place',
      code: 'secret_needed',
    }));
}

/** A document as it is stored: what is shown, and the secrets beside it. */
export const splitSecrets = (document: ChannelDocument): { settings: ChannelDocument; secrets: Record<string, string> } => ({
  settings: masked(document),
  secrets: Object.fromEntries(secretsOf(document).map(({ pointer, value }) => [pointer, value])),
});

export const joinSecrets = (settings: ChannelDocument, secrets: Record<string, string>): ChannelDocument =>
  withSecrets(settings, ({ pointer, value }) => secrets[pointer] ?? value);
