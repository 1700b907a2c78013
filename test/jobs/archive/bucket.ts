/**
 * A real S3-compatible server on this machine, with one bucket. It checks signatures as AWS does, but for one thing: a list is signed with the slash behind the bucket's name, and it
 * forgets that. So that whoever lists has a server that takes any signature.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBucketPlace } from '../../../src/jobs/archive/bucket-place.ts';
import type { Place } from '../../../src/jobs/archive/place.ts';

export type BucketServer = {
  endpoint: string;
  place: (settings?: { prefix?: string; secret?: string }) => Place;
  /** It is away until `start`; what it holds stays. */
  stop: () => Promise<void>;
  start: () => Promise<void>;
  close: () => Promise<void>;
};

const BUCKET = 'archives';
/** It brings no types. */
type Server = { run(): Promise<{ port: number }>; close(): Promise<void> };
const S3rver = createRequire(import.meta.url)('@20minutes/s3rver') as new (options: object) => Server;

export async function startBucketServer({ anySignature = false } = {}): Promise<BucketServer> {
  const directory = await mkdtemp(join(tmpdir(), 'almanac-bucket-'));
  const open = (port: number) =>
    new S3rver({
      address: '127.0.0.1',
      port,
      silent: true,
      directory,
      configureBuckets: [{ name: BUCKET }],
      allowMismatchedSignatures: anySignature,
    });
  let server = open(0);
  const { port } = await server.run();
  const endpoint = `http://127.0.0.1:${port}`;
  return {
    endpoint,
    place: ({ prefix = 'almanac/', secret = 'S3RVER' } = {}) =>
      createBucketPlace({
        bucket: BUCKET,
        prefix,
        region: 'us-east-1',
        endpoint,
        pathStyle: true,
        credentials: { accessKeyId: 'S3RVER', secretAccessKey: secret },
      }),
    stop: async () => void (await server.close()),
    start: async () => {
      server = open(port);
      await server.run();
    },
    close: async () => {
      await server.close().catch(() => {});
      await rm(directory, { recursive: true, force: true });
    },
  };
}
