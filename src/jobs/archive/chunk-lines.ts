/** The lines of one object of an archive. */
import { hash } from 'node:crypto';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { ArchiveObject } from './archive-store.ts';
import { type Place, PlaceError } from './place.ts';

const expand = promisify(gunzip);

/** @throws PlaceError when it can not be had, or is not what was written. */
export async function chunkLines(place: Place, object: ArchiveObject): Promise<string[]> {
  const bytes = await place.get(object.name);
  if (hash('sha256', bytes) !== object.sha256) throw new PlaceError(`${object.name} in ${place.address} is not what was written`);
  const raw = await expand(bytes);
  const lines = raw.toString('utf8').split('\n');
  // the last line ends like all others
  if (lines.pop() !== '' || lines.length !== object.rows || raw.length !== object.rawBytes)
    throw new PlaceError(`${object.name} in ${place.address} has ${lines.length} lines instead of ${object.rows}`);
  return lines;
}
