/** The refusals of the job use cases, each a sentence with the cure. */
import { JobError } from './errors.ts';

const shown = (text: string) => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

export const jobNotFound = (idOrName: string): JobError =>
  new JobError('not_found', 'job_not_found', `There is no job ${shown(idOrName)}; GET /api/v1/jobs lists all jobs.`);

export const jobNameTaken = (name: string, id: string): JobError =>
  new JobError(
    'conflict',
    'name_taken',
    `A job named ${shown(name)} exists already: ${id}. Choose another name, or PUT to change that one.`,
    {
      extra: { id, name },
    },
  );

/** @param generation the current one, from which the API makes the current ETag. */
export const jobHasChanged = (idOrName: string, generation: number | null): JobError =>
  new JobError(
    'precondition',
    'generation_mismatch',
    generation === null
      ? `There is no job ${shown(idOrName)} yet, so If-Match can't hold; leave it out to create the job.`
      : `The job ${shown(idOrName)} has changed meanwhile, it is at generation ${generation}; read it again and repeat the change.`,
    { extra: { generation } },
  );

export const serviceNotFound = (idOrName: string): JobError =>
  new JobError('not_found', 'service_not_found', `There is no service ${shown(idOrName)}; GET /api/v1/services lists all services.`);
