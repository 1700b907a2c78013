/** The refusals of the use cases on channels, each a sentence with the cure. */
import { type FieldError, JobError } from '../errors.ts';
import type { ChannelUsers } from './channel-store.ts';

const shown = (text: string) => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

export function invalidChannel(errors: FieldError[]): JobError {
  const first = errors[0];
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new JobError('invalid', 'invalid_channel', `The channel is not valid: ${first?.path || 'document'}: ${first?.message}${more}.`, {
    errors: errors.slice(0, 50),
  });
}

export const channelNotFound = (idOrName: string): JobError =>
  new JobError('not_found', 'channel_not_found', `There is no channel ${shown(idOrName)}; GET /api/v1/channels lists all channels.`);

export const channelNameTaken = (name: string, id: string): JobError =>
  new JobError('conflict', 'name_taken', `A channel named ${shown(name)} exists already: ${id}.`, { extra: { id, name } });

export const channelHasChanged = (name: string, generation: number | null): JobError =>
  new JobError(
    'precondition',
    'generation_mismatch',
    generation === null
      ? `There is no channel ${shown(name)} yet, so If-Match can't hold; leave it out to create it.`
      : `The channel ${shown(name)} has changed meanwhile, it is at generation ${generation}; read it again and repeat the change.`,
    { extra: { generation } },
  );

export function channelInUse(name: string, { jobs, jobNames, services, team }: ChannelUsers, done: 'renamed' | 'removed'): JobError {
  const some = jobNames.map(shown).join(', ') + (jobs > jobNames.length ? ', …' : '');
  const users = [
    ...(jobs > 0 ? [`${jobs} ${jobs === 1 ? 'job' : 'jobs'} (${some})`] : []),
    ...(services.length > 0 ? [`the services ${services.slice(0, 5).map(shown).join(', ')}${services.length > 5 ? ', …' : ''}`] : []),
    ...(team ? ['the rules of the team'] : []),
  ];
  return new JobError(
    'conflict',
    'channel_in_use',
    `The channel ${shown(name)} can't be ${done} while rules name it: those of ${users.join(', ')}.`,
    { extra: { jobs, services, team } },
  );
}
