/** What is wrong with jobs of a batch, each place named as it stands in the request. */
import { type FieldError, JobError } from './errors.ts';
import type { BatchItem } from './job-batch.ts';

/** Of one document; every bad one is named, but not at any length. */
const MOST_OF_ONE = 10;

/** The refusal of one job, with its place in the batch. */
export function itemOfError(index: number, error: JobError): Extract<BatchItem, { code: string }> {
  const own = error.kind === 'conflict' ? [{ path: '/name', message: error.message, code: error.code }] : (error.errors ?? []);
  const errors = own.slice(0, MOST_OF_ONE).map(({ path, ...rest }) => ({ path: `/jobs/${index}${path}`, ...rest }));
  const existing = error.extra?.id;
  return {
    index,
    status: error.kind === 'conflict' ? 409 : 422,
    code: error.code,
    detail: error.message,
    errors,
    ...(typeof existing === 'string' ? { existingId: existing } : {}),
  };
}

export function invalidBatch(errors: FieldError[]): JobError {
  const jobs = new Set(errors.map(({ path }) => path.split('/')[2])).size;
  return new JobError(
    'invalid',
    'invalid_batch',
    `${jobs} of the jobs ${jobs === 1 ? 'is' : 'are'} not valid, so none was created: ${firstOf(errors)}.`,
    {
      errors: sorted(errors),
    },
  );
}

export const batchNamesTaken = (errors: FieldError[]): JobError =>
  new JobError(
    'conflict',
    'name_taken',
    `${errors.length} of the names ${errors.length === 1 ? 'is' : 'are'} taken, so none was created: ${firstOf(errors)}`,
    {
      errors: sorted(errors),
    },
  );

const placeOf = ({ path }: FieldError): number => Number(path.split('/')[2]);
const sorted = (errors: FieldError[]): FieldError[] => errors.toSorted((a, b) => placeOf(a) - placeOf(b));
const firstOf = (errors: FieldError[]): string => {
  const first = sorted(errors)[0]!;
  return `${first.path} ${first.message}`;
};
