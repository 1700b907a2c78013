/** Archives in an S3-compatible bucket, by the client of its inventors: it also finds the credentials that a machine or a pod is given (roles), which none of the small ones does. */
import type { S3Client } from '@aws-sdk/client-s3';
import { checkName, type Place, PlaceError } from './place.ts';

export type BucketSettings = {
  bucket: string;
  /** Names of all objects begin with it, e.g. `almanac/`. */
  prefix: string;
  region: string;
  /** Address of a server that is not AWS; empty: AWS. */
  endpoint: string;
  /** The bucket's name stands in the path instead of the host name, as most servers that are not AWS want it. */
  pathStyle: boolean;
  /** Null: as the environment, a profile or the machine's role says. */
  credentials: { accessKeyId: string; secretAccessKey: string } | null;
};

/** A connection, and an answer, must come within these, milliseconds. */
const CONNECT_MS = 5_000;
const ANSWER_MS = 60_000;
const TRIES = 3;

/** Opens nothing: the client is loaded by the first call, because few processes ever need it. */
export function createBucketPlace(settings: BucketSettings): Place {
  const { bucket, prefix } = settings;
  const keyOf = (name: string) => `${prefix}${checkName(name)}`;
  let loaded: ReturnType<typeof load> | undefined;

  async function load() {
    const sdk = await import('@aws-sdk/client-s3');
    const client: S3Client = new sdk.S3Client({
      region: settings.region,
      ...(settings.endpoint ? { endpoint: settings.endpoint } : {}),
      forcePathStyle: settings.pathStyle,
      ...(settings.credentials ? { credentials: settings.credentials } : {}),
      maxAttempts: TRIES,
      // the checksums of newer AWS are refused by others; ours are compared when everything is read back
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: { connectionTimeout: CONNECT_MS, requestTimeout: ANSWER_MS, throwOnRequestTimeout: true },
    });
    return { sdk, client };
  }

  async function said<T>(what: string, work: (s3: Awaited<ReturnType<typeof load>>) => Promise<T>): Promise<T> {
    try {
      loaded ??= load();
      return await work(await loaded);
    } catch (error) {
      if (error instanceof PlaceError) throw error;
      const { name, message } = error as Error;
      throw new PlaceError(`${what}: ${name}: ${message}`, { missing: name === 'NoSuchKey' || name === 'NotFound', cause: error });
    }
  }

  return {
    kind: 'bucket',
    address: `s3://${bucket}/${prefix}`,
    put: (name, bytes) =>
      said(`${name} could not be written to bucket ${bucket}`, async ({ sdk, client }) => {
        const input = { Bucket: bucket, Key: keyOf(name), Body: bytes, ContentLength: bytes.length, ContentType: typeOf(name) };
        await client.send(new sdk.PutObjectCommand(input));
      }),
    get: (name) =>
      said(`${name} could not be read from bucket ${bucket}`, async ({ sdk, client }) => {
        const { Body } = await client.send(new sdk.GetObjectCommand({ Bucket: bucket, Key: keyOf(name) }));
        return Body ? Buffer.from(await Body.transformToByteArray()) : Buffer.alloc(0);
      }),
    list: (folder) =>
      said(`${folder} could not be listed in bucket ${bucket}`, async ({ sdk, client }) => {
        const names: string[] = [];
        for (let next: string | undefined, more = true; more; more = next !== undefined) {
          const page = await client.send(
            new sdk.ListObjectsV2Command({ Bucket: bucket, Prefix: `${keyOf(folder)}/`, ...(next ? { ContinuationToken: next } : {}) }),
          );
          for (const { Key } of page.Contents ?? []) if (Key) names.push(Key.slice(prefix.length));
          next = page.IsTruncated ? page.NextContinuationToken : undefined;
        }
        return names.sort();
      }),
    remove: (name) =>
      said(`${name} could not be removed from bucket ${bucket}`, async ({ sdk, client }) => {
        await client.send(new sdk.DeleteObjectCommand({ Bucket: bucket, Key: keyOf(name) }));
      }),
  };
}

const typeOf = (name: string): string => (name.endsWith('.json') ? 'application/json' : 'application/gzip');
