/** Who asks: the API key of a request, as Bearer token or X-API-Key. */
import type { KeyHolder } from '../jobs/api-keys.ts';
import { JobError } from '../jobs/errors.ts';
import type { ApiRequest } from './request.ts';

export type FindKey = (key: string) => KeyHolder | null | Promise<KeyHolder | null>;

const LONGEST_KEY = 500;
const BEARER = /^Bearer +(\S+)$/i;

/** Holder of the request's key. @throws JobError `unauthenticated`; the same words for every wrong key. */
export async function authenticate(request: ApiRequest, find: FindKey): Promise<KeyHolder> {
  const key = presentedKey(request);
  const found = key.length > LONGEST_KEY ? null : find(key);
  const holder = found instanceof Promise ? await found : found;
  if (!holder) throw new JobError('unauthenticated', 'unknown_key', 'The API key is not known.');
  return holder;
}

function presentedKey({ headers: { authorization, 'x-api-key': apiKey } }: ApiRequest): string {
  const bearer = authorization === undefined ? undefined : BEARER.exec(authorization.trim())?.[1];
  if (authorization !== undefined && bearer === undefined && apiKey === undefined) {
    throw new JobError('unauthenticated', 'malformed_authorization', 'Authorization must read: Bearer <API key>.');
  }
  const key = bearer ?? (typeof apiKey === 'string' ? apiKey.trim() : undefined);
  if (!key) throw new JobError('unauthenticated', 'missing_key', 'Send an API key: Authorization: Bearer <key>, or X-API-Key: <key>.');
  return key;
}
