/** Reads an archive back, from its first object to its last, and removes what interrupted writers have left beside it. */
import type { Pool } from '../../postgres.ts';
import { type Archive, chunksOf } from './archive-store.ts';
import { chunkLines } from './chunk-lines.ts';
import { manifestOf } from './manifest.ts';
import { type Place, PlaceError } from './place.ts';

export const manifestName = (archive: Archive): string => `${archive.folder}/manifest.json`;

/**
 * Reads every object and compares it with what was written; then writes the manifest, and reads that too.
 * @returns false when it was asked to stop before the end.
 * @throws PlaceError when anything is not as it was written.
 */
export async function verifyMonth(deps: {
  pool: Pool;
  place: Place;
  archive: Archive;
  schemaVersion: string;
  signal: AbortSignal;
}): Promise<boolean> {
  const { pool, place, archive, schemaVersion, signal } = deps;
  const chunks = await chunksOf(pool, archive.id);
  for (const { objects } of chunks) {
    for (const object of objects) {
      if (signal.aborted) return false;
      await chunkLines(place, object);
    }
  }
  const manifest = Buffer.from(`${JSON.stringify(manifestOf(archive, schemaVersion, chunks), null, 1)}\n`);
  const name = manifestName(archive);
  await place.put(name, manifest);
  if (!(await place.get(name)).equals(manifest)) throw new PlaceError(`${name} in ${place.address} is not what was written`);
  const known = new Set([name, ...chunks.flatMap(({ objects }) => objects.map((object) => object.name))]);
  for (const found of await place.list(archive.folder))
    if (!known.has(found) && claimOf(found) <= Number(archive.claim)) await place.remove(found);
  return true;
}

/** Whose object it is: what a later writer has just put there is not ours to remove. */
const claimOf = (name: string): number => Number(/-(\d+)\.ndjson\.gz/.exec(name)?.[1] ?? Number.POSITIVE_INFINITY);
