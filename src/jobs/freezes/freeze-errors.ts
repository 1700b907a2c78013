/** The refusals of the use cases on freezes, each a sentence with the cure. */
import { JobError } from '../errors.ts';
import { freezeView, type StoredFreeze } from './freeze-store.ts';

const shown = (text: string) => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

export const freezeNotFound = (id: string): JobError =>
  new JobError('not_found', 'freeze_not_found', `There is no freeze ${shown(id)}; GET /api/v1/freezes lists all freezes.`);

export const freezeIsOver = (freeze: StoredFreeze): JobError =>
  new JobError(
    'refused',
    'freeze_ended',
    `The freeze ${freeze.id} is over since ${freezeView(freeze).endedAt}; make another with POST /api/v1/freezes.`,
    {
      extra: { state: freeze.state },
    },
  );

export const freezeHasChanged = ({ id, version }: StoredFreeze): JobError =>
  new JobError(
    'precondition',
    'version_mismatch',
    `The freeze ${id} has changed meanwhile, it is at version ${version}; read it again and repeat the change.`,
    {
      extra: { version },
    },
  );
