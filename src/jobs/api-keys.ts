/**
 * API keys: stored as SHA-256, so that a copy of the database opens nothing. Keys are random and long, which is why a plain hash is enough
 * (a slow one would only slow down every request).
 *
 * A request needs no Postgres for its key: what was found is kept in process for half a minute, renewed behind the requests' back, and used
 * for five minutes while Postgres is away. A deleted key is refused within that half minute.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import type { Log } from '../log.ts';
import type { Pool, Queryable } from '../postgres.ts';

/** Who holds a key. */
export type KeyHolder = { holder: string; name: string; team: string; role: 'admin' };

type Known = { hash: Buffer; holder: KeyHolder | null; readAt: number; reading: boolean };

const FRESH_MS = 30_000;
const USABLE_MS = 300_000;
const UNKNOWN_FRESH_MS = 2_000;
const MOST_KNOWN = 10_000;
const BOOTSTRAP_ID = 'key_bootstrap';

export type ApiKeys = ReturnType<typeof createApiKeys>;

export function createApiKeys({ pool, log, now = Date.now }: { pool: Pool; log: Log; now?: () => number }) {
  const known = new Map<string, Known>();

  /**
   * Holder of a presented key, or null for a key nobody holds. A plain value when it is known already: no promise, no turn of the loop.
   * Rejects when Postgres is away and the key was not seen lately.
   */
  function find(key: string): KeyHolder | null | Promise<KeyHolder | null> {
    const digest = hash('sha256', key, 'buffer');
    const entry = known.get(digest.toString('latin1'));
    const age = entry ? now() - entry.readAt : Number.POSITIVE_INFINITY;
    if (!entry || !timingSafeEqual(entry.hash, digest)) return read(digest);
    if (entry.holder === null) return age < UNKNOWN_FRESH_MS ? null : read(digest);
    if (age >= USABLE_MS) return read(digest);
    if (age >= FRESH_MS && !entry.reading) {
      entry.reading = true;
      read(digest).catch((error: Error) => {
        entry.reading = false;
        log.warn({ error: error.message }, 'an API key could not be checked again; the last answer is used');
      });
    }
    return entry.holder;
  }

  async function read(digest: Buffer): Promise<KeyHolder | null> {
    const holder = await holderOfHash(pool, digest);
    // Guessed keys must not fill the memory: the oldest entry makes room.
    if (known.size >= MOST_KNOWN) known.delete(known.keys().next().value as string);
    known.set(digest.toString('latin1'), { hash: digest, holder, readAt: now(), reading: false });
    return holder;
  }

  /** Makes `key` the bootstrap admin key; another one chosen before is refused from then on (elsewhere within 30 s). */
  async function ensureBootstrapKey(key: string): Promise<void> {
    const digest = hash('sha256', key, 'buffer');
    const changed = await upsertBootstrapKey(pool, digest);
    if (changed) known.clear();
  }

  return { find, ensureBootstrapKey, exist: () => anyKey(pool) };
}

async function holderOfHash(database: Queryable, digest: Buffer): Promise<KeyHolder | null> {
  const found = await database.query<KeyHolder & { key_hash: Buffer }>(
    `SELECT id AS holder, name, team, role, key_hash FROM api_keys WHERE key_hash = $1`,
    [digest],
  );
  const row = found.rows[0];
  if (!row || !timingSafeEqual(row.key_hash, digest)) return null;
  return { holder: row.holder, name: row.name, team: row.team, role: row.role };
}

async function upsertBootstrapKey(database: Queryable, digest: Buffer): Promise<boolean> {
  const written = await database.query(
    `INSERT INTO api_keys (id, team, name, key_hash, role) VALUES ($1, 'default', 'bootstrap', $2, 'admin')
     ON CONFLICT (id) DO UPDATE SET key_hash = excluded.key_hash WHERE api_keys.key_hash <> excluded.key_hash`,
    [BOOTSTRAP_ID, digest],
  );
  return written.rowCount === 1;
}

async function anyKey(database: Queryable): Promise<boolean> {
  const found = await database.query<{ any: boolean }>('SELECT EXISTS (SELECT FROM api_keys) AS any');
  return found.rows[0]?.any ?? false;
}
