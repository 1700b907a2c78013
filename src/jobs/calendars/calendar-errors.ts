/** What can stand in the way of a change of a calendar, as its caller can act on it. */
import { JobError } from '../errors.ts';

export const calendarNotFound = (name: string): JobError =>
  new JobError('not_found', 'calendar_not_found', `There is no calendar ${JSON.stringify(name.slice(0, 120))}.`);

export const calendarNameTaken = (name: string): JobError =>
  new JobError('conflict', 'name_taken', `A calendar named ${JSON.stringify(name)} exists already; change it with PUT or PATCH.`, {
    extra: { name },
  });

export const calendarHasChanged = (name: string, version: number | null): JobError =>
  new JobError(
    'precondition',
    'version_mismatch',
    version === null
      ? `There is no calendar ${JSON.stringify(name)} yet, so If-Match can't hold; leave it out to create it.`
      : `The calendar ${JSON.stringify(name)} has changed meanwhile, it is at version ${version}; read it again and repeat the change.`,
    { extra: { version } },
  );

export function calendarInUse(name: string, { count, names }: { count: number; names: readonly string[] }): JobError {
  const some = names.map((job) => JSON.stringify(job)).join(', ');
  return new JobError(
    'conflict',
    'calendar_in_use',
    `The calendar ${JSON.stringify(name)} can't be removed while ${count} ${count === 1 ? 'job names' : 'jobs name'} it: ${some}${count > names.length ? ', …' : ''}. Take it out of their schedules first.`,
    { extra: { jobs: count, names } },
  );
}
