/** The places that the settings name. A bucket comes before a directory: who sets both is on the way from one to the other, and old archives stay readable. */
import type { Config } from '../../config.ts';
import { createBucketPlace } from './bucket-place.ts';
import { createDirectoryPlace } from './directory-place.ts';
import type { Places } from './place.ts';

export type PlaceSettings = Pick<
  Config,
  | 'ARCHIVE_DIR'
  | 'ARCHIVE_S3_BUCKET'
  | 'ARCHIVE_S3_PREFIX'
  | 'ARCHIVE_S3_REGION'
  | 'ARCHIVE_S3_ENDPOINT'
  | 'ARCHIVE_S3_PATH_STYLE'
  | 'ARCHIVE_S3_ACCESS_KEY_ID'
  | 'ARCHIVE_S3_SECRET_ACCESS_KEY'
>;

export function createPlaces(config: PlaceSettings): Places {
  const directory = config.ARCHIVE_DIR ? createDirectoryPlace(config.ARCHIVE_DIR) : null;
  const accessKeyId = config.ARCHIVE_S3_ACCESS_KEY_ID;
  const bucket = config.ARCHIVE_S3_BUCKET
    ? createBucketPlace({
        bucket: config.ARCHIVE_S3_BUCKET,
        prefix: config.ARCHIVE_S3_PREFIX,
        region: config.ARCHIVE_S3_REGION,
        endpoint: config.ARCHIVE_S3_ENDPOINT,
        pathStyle: config.ARCHIVE_S3_PATH_STYLE,
        credentials: accessKeyId ? { accessKeyId, secretAccessKey: config.ARCHIVE_S3_SECRET_ACCESS_KEY } : null,
      })
    : null;
  return { current: bucket ?? directory, of: (kind) => (kind === 'bucket' ? bucket : directory) };
}
