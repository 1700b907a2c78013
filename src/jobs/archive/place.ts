/** Where archives are put: a directory or a bucket. Objects are written once, whole, and never changed. */

export type PlaceKind = 'directory' | 'bucket';

export type Place = {
  kind: PlaceKind;
  /** For people: a path, or `s3://bucket/prefix`. */
  address: string;
  /** Writes an object; when it returns, the object is there as a whole and stays. @throws PlaceError */
  put(name: string, bytes: Buffer): Promise<void>;
  /** @throws PlaceError, `missing` when there is no such object. */
  get(name: string): Promise<Buffer>;
  /** Names of all objects below a folder. @throws PlaceError */
  list(folder: string): Promise<string[]>;
  /** Removes an object; one that is not there is no error. @throws PlaceError */
  remove(name: string): Promise<void>;
};

/** The places that the settings name. */
export type Places = {
  /** Where archives are written to; null: nowhere, so that nothing may leave the database. */
  current: Place | null;
  /** The place of an archive that was written earlier; null when the settings do not name it any more. */
  of(kind: PlaceKind): Place | null;
};

/** A place that did not do what it was asked: full, away, not allowed, or without the object. The same may succeed later. */
export class PlaceError extends Error {
  override name = 'PlaceError';
  readonly missing: boolean;

  constructor(message: string, { missing = false, cause }: { missing?: boolean; cause?: unknown } = {}) {
    super(message, { cause });
    this.missing = missing;
  }
}

/** Names are ours alone: words, digits and hyphens, divided by slashes. */
export function checkName(name: string): string {
  if (!/^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*(\.[a-z0-9.]+)?$/.test(name))
    throw new PlaceError(`${JSON.stringify(name)} is no name of an object`);
  return name;
}
