/** Rules of who is told what: the `notify` of jobs and services, and the rules of a team. They add up; a channel hears each event once. */
import { z } from 'zod';
import { choice, strictShape } from '../job-issues.ts';

/** What happens to jobs that people may want to hear of. `failed`: the last attempt. */
export const NOTIFY_KINDS = ['failed', 'failed_to_start', 'missed', 'late', 'recovered', 'paused', 'succeeded', 'interval_health'] as const;
export type NotifyKind = (typeof NOTIFY_KINDS)[number];

const MOST_RULES = 20;
const MOST_TEAM_RULES = 100;
const MOST_WORDS = 50;

/** Name of a channel: fit for a path. */
export const channelNameSchema = z
  .string({ error: (issue) => (issue.input === undefined ? 'name of a channel is required' : 'must be a string') })
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
    'must be 1 to 100 letters, digits, dots, dashes or underscores, beginning with a letter or digit',
  )
  .refine((name) => !/^chn_/i.test(name), 'must not begin with "chn_", which marks ids')
  .meta({ description: 'Name of a channel', example: 'ops-slack' });

const on = z
  .array(choice(NOTIFY_KINDS), { error: 'must be a list of kinds of events, e.g. ["failed", "recovered"]' })
  .min(1, 'must name at least one kind of event')
  .max(MOST_WORDS, `has more than ${MOST_WORDS} entries`)
  .transform((kinds): NotifyKind[] => [...new Set(kinds)])
  .meta({ description: 'Kinds of events; `failed` is told after the last attempt', example: ['failed', 'recovered'] });

/** `notify` of a job or a service. */
export const notifySchema = z
  .array(strictShape({ on, channel: channelNameSchema }, 'on and channel'), {
    error: 'must be a list of rules, e.g. [{ "on": ["failed"], "channel": "ops-slack" }]',
  })
  .max(MOST_RULES, `has more than ${MOST_RULES} rules`)
  .meta({ description: 'Who is told what, besides what the rules of its service and its team say' });
export type NotifyRule = z.output<typeof notifySchema>[number];

const words = (what: string) =>
  z
    .array(z.string({ error: 'must be a string' }).min(1, 'must not be empty').max(100, 'has more than 100 characters'), {
      error: `must be a list of ${what}`,
    })
    .min(1, `must name at least one; leave it out for all`)
    .max(MOST_WORDS, `has more than ${MOST_WORDS} entries`);

const filter = strictShape(
  {
    category: words('categories').optional(),
    service: words('services').optional(),
    tags: z
      .record(z.string().max(100), z.string({ error: 'must be a string; put quotes around it' }).max(200), {
        error: 'must be an object of names and texts, e.g. { "env": "prod" }',
      })
      .refine((tags) => Object.keys(tags).length <= MOST_WORDS, `has more than ${MOST_WORDS} tags`)
      .optional(),
  },
  'category, service, tags',
).meta({
  description: 'Which jobs: one of the categories, one of the services, and all of the tags',
  example: { category: ['batch'], tags: { env: 'prod' } },
});

/** The rules of a team, as PUT takes them and GET shows them. */
export const teamRulesSchema = strictShape(
  {
    rules: z
      .array(strictShape({ on, channel: channelNameSchema, filter: filter.optional() }, 'on, channel and filter'), {
        error: 'must be a list of rules, e.g. [{ "on": ["failed"], "channel": "ops-slack" }]',
      })
      .max(MOST_TEAM_RULES, `has more than ${MOST_TEAM_RULES} rules`),
  },
  'rules',
).meta({ id: 'NotificationRules', description: 'Who is told what of all jobs of the team, or of those that a filter names' });
export type TeamRules = z.output<typeof teamRulesSchema>;
