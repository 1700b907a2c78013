/** Bodies of a backfill and of what else runs missed slots. */
import { z } from 'zod';
import { JobError } from '../errors.ts';
import { choice, strictShape } from '../job-issues.ts';
import { instantSchema } from '../time/instant.ts';

/** Slots that did not run for these reasons count as missed, unless others are asked for: what a policy of the job itself leaves out is none. */
export const MISSED_REASONS = ['missed', 'paused', 'frozen', 'buffer_dropped'] as const;
/** All that `reasons` may name. */
const BACKFILL_REASONS = [...MISSED_REASONS, 'concurrency', 'skipped_overlap', 'excluded', 'dst_gap', 'dst_repeat'] as const;

const LONGEST_RANGE_YEARS = 10;
const LONGEST_RANGE_MS = LONGEST_RANGE_YEARS * 366 * 86_400_000;

export const ratePerMinuteSchema = z
  .int({ error: 'must be a whole number of items a minute' })
  .min(1, 'must be at least 1 a minute')
  .max(100_000, 'must be at most 100,000 a minute; leave it out for no limit')
  .meta({ description: 'Most items a minute; default: as fast as it goes' });

export const reasonSchema = z.string({ error: 'must be a string' }).max(1_000, 'has more than 1,000 characters');
export const dryRunSchema = z
  .boolean({ error: 'must be true or false' })
  .default(false)
  .meta({ description: 'Only says what would happen' });

export const backfillSchema = strictShape(
  {
    from: instantSchema.meta({ description: 'Slots from this time on' }),
    to: instantSchema.optional().meta({ description: 'Slots before this time; default, and at most, now' }),
    only: choice(['missed', 'all']).default('missed').meta({
      description:
        '`missed`: slots that should have run and did not, and that no backfill has taken yet. `all`: every slot by the schedule as it is now, whatever became of it, also from before the job was there',
    }),
    reasons: z
      .array(choice(BACKFILL_REASONS))
      .min(1, 'must name at least one reason')
      .max(BACKFILL_REASONS.length)
      .optional()
      .meta({ description: `With \`missed\`: for which reasons a slot did not run; default ${MISSED_REASONS.join(', ')}` }),
    order: choice(['oldest', 'newest']).default('oldest').meta({ description: 'Which slots come first' }),
    ratePerMinute: ratePerMinuteSchema.optional(),
    reason: reasonSchema.optional(),
    dryRun: dryRunSchema,
  },
  'from, and optionally to, only, reasons, order, ratePerMinute, reason and dryRun',
).meta({ id: 'BackfillRequest' });
export type BackfillRequest = z.output<typeof backfillSchema>;

/** The half-open range that is meant. @throws JobError `invalid` for one that is empty, too long, or not over yet. */
export function rangeOf({ from: fromText, to: toText, only, reasons }: BackfillRequest, now: Date): { from: Date; to: Date } {
  const from = new Date(fromText);
  const to = toText === undefined ? now : new Date(toText);
  const [path, code, message] =
    to > now
      ? ['/to', 'in_the_future', `${toText} is in the future, and slots to come run by themselves; write a time up to now, or leave it out`]
      : from >= to
        ? ['/from', 'empty_range', `${fromText} is not before ${toText ?? 'now'}; write an earlier time`]
        : to.getTime() - from.getTime() > LONGEST_RANGE_MS
          ? [
              '/from',
              'too_long',
              `${fromText} is more than ${LONGEST_RANGE_YEARS} years before "to"; backfill shorter ranges one after another`,
            ]
          : only === 'all' && reasons
            ? ['/reasons', 'not_with_all', 'says why slots were missed; leave it out with only: "all"']
            : [];
  if (!path || !code || !message) return { from, to };
  throw new JobError('invalid', 'invalid_backfill', `The backfill is not valid: ${path} ${message}.`, {
    errors: [{ path, message, code }],
  });
}
