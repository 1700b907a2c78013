/** Bodies of a pause and of a resume. */
import { z } from 'zod';
import { choice, strictShape } from '../job-issues.ts';
import { instantSchema } from '../time/instant.ts';
import { dryRunSchema, ratePerMinuteSchema, reasonSchema } from './backfill-document.ts';

export const blockManualSchema = z
  .boolean({ error: 'must be true or false' })
  .default(false)
  .meta({ description: 'Refuses triggers, retries and backfills as well' });
export const untilSchema = instantSchema.meta({
  description:
    'The pause ends by itself at this time; default: when somebody resumes the job. Slots from then on are the job’s again, those before it are not caught up',
});

export const pauseSchema = strictShape(
  { reason: reasonSchema.optional(), blockManual: blockManualSchema, until: untilSchema.optional() },
  'reason, blockManual and until, all optional',
).meta({ id: 'Pause' });
export type PauseRequest = z.input<typeof pauseSchema>;

export const catchUpSchema = choice(['none', 'last', 'all']).default('none').meta({
  description:
    'Which of the slots missed in the pause run now, as a backfill: none of them, the last one, or all of them, whatever the `catchUp` of the job says. Never done unless asked for',
});

export const resumeSchema = strictShape(
  {
    catchUp: catchUpSchema,
    order: choice(['oldest', 'newest']).default('oldest').meta({ description: 'With `all`: which slots come first' }),
    ratePerMinute: ratePerMinuteSchema.optional(),
    dryRun: dryRunSchema,
  },
  'catchUp, order, ratePerMinute and dryRun, all optional',
)
  .superRefine(({ catchUp, ratePerMinute }, context) => {
    if (catchUp === 'none' && ratePerMinute !== undefined)
      context.addIssue({
        code: 'custom',
        path: ['ratePerMinute'],
        message: 'says how fast missed slots run, and none of them runs; add catchUp: "last" or "all", or leave it out',
        params: { code: 'not_alone' },
      });
  })
  .meta({ id: 'Resume' });
export type ResumeRequest = z.input<typeof resumeSchema>;
