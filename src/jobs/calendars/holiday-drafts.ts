/** Drafts of jobs that count business days by a shared calendar, worked out again when that has changed since. */
import type { Transaction } from '../../postgres.ts';
import { type Draft, draftOf } from '../job-draft.ts';
import type { QueueOf } from '../job-facts.ts';
import { sameJson } from '../job-json.ts';
import { withHolidayDates } from './holiday-dates.ts';

/**
 * The draft as it is, or another one with the days that its calendars have now. The caller holds the calendars.
 * @throws JobError `invalid` when there is no time ahead by those days.
 */
export async function redrafted(tx: Transaction, draft: Draft, queueOf: QueueOf): Promise<Draft> {
  const { document, team } = draft.job;
  const dated = await withHolidayDates(tx, team, document);
  return dated === document || sameJson(dated, document) ? draft : draftOf(draft.caller, dated, queueOf);
}
