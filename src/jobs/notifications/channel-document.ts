/** The channel document: a way to people or programs, by type. */
import { z } from 'zod';
import { choice, nearest, strictShape } from '../job-issues.ts';
import { headersSchema, urlShapeProblem } from '../target-document.ts';
import { durationMs, durationSchema } from '../time/duration.ts';
import { instantSchema } from '../time/instant.ts';
import { channelNameSchema } from './notify-rules.ts';
import { quietHoursSchema } from './quiet-hours.ts';
import { templateProblem } from './templates.ts';

export const CHANNEL_TYPES = ['webhook', 'slack', 'email', 'pagerduty'] as const;
export type ChannelType = (typeof CHANNEL_TYPES)[number];
const LONGEST_WINDOW = '10m';
const PAGERDUTY = 'https://events.pagerduty.com/v2/enqueue';

const address = (what: string) =>
  z
    .string({ error: (issue) => (issue.input === undefined ? `${what} is required` : 'must be a string') })
    .max(2_000, 'has more than 2,000 characters')
    .superRefine((url, context) => {
      const problem = urlShapeProblem(url);
      if (problem) context.addIssue({ code: 'custom', message: problem });
    });

const template = z.string({ error: 'must be a string' }).superRefine((text, context) => {
  const problem = templateProblem(text);
  if (problem) context.addIssue({ code: 'custom', message: problem });
});
const SUBJECT = template.optional().meta({ description: 'Mustache, one line', example: '{{headline}}' });
const BODY = template.optional().meta({ description: 'Mustache', example: '{{headline}}: {{url}}' });

const common = {
  name: channelNameSchema,
  description: z.string({ error: 'must be a string' }).max(5_000, 'has more than 5,000 characters').optional(),
  groupWindow: durationSchema
    .refine((text) => !isDuration(text) || durationMs(text) <= durationMs(LONGEST_WINDOW), `is longer than ${LONGEST_WINDOW}`)
    .default('5s')
    .meta({
      description:
        'Events of one kind that come within so long are one message; 0s: each is its own. Grows while messages have many events',
    }),
  quietHours: quietHoursSchema.optional(),
  mutedUntil: instantSchema.optional().meta({ description: 'Nothing is sent before this time' }),
};

const mailAddress = z
  .string({ error: 'must be a string' })
  .max(320)
  .regex(/^[^\s@<>(),;:"\\[\]]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$/, 'must be a mail address, e.g. "ops@example.com"');

/** `whsec_` and 24 to 64 bytes in base64, as Standard Webhooks has it. */
const SIGNING_SECRET = /^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/;

const webhook = strictShape(
  {
    type: z.literal('webhook'),
    ...common,
    url: address('url').meta({ description: 'Where events are posted to', example: 'https://example.com/almanac' }),
    secret: z
      .string({ error: 'must be a string' })
      .regex(SIGNING_SECRET, 'must be "whsec_" and 24 to 64 random bytes in base64; leave it out and one is made')
      .optional()
      .meta({ description: 'Signs each message (Standard Webhooks); made when left out, and shown once' }),
    headers: headersSchema.default({}).meta({ description: 'Sent with each message; their values are not shown again' }),
  },
  'type: webhook, name and url',
).meta({ id: 'WebhookChannel' });

const slack = strictShape(
  {
    type: z.literal('slack'),
    ...common,
    url: address('url').meta({ description: 'Address of the incoming webhook; not shown again' }),
    templates: strictShape({ body: BODY }, 'body').optional(),
  },
  'type: slack, name and url',
).meta({
  id: 'SlackChannel',
  description: "Slack, and what takes Slack's incoming webhooks (Mattermost, Rocket.Chat, Discord with /slack)",
});

const smtp = strictShape(
  {
    host: z
      .string({ error: (issue) => (issue.input === undefined ? 'host is required' : 'must be a string') })
      .max(253)
      .regex(
        /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)$/,
        'must be a host name or an address',
      ),
    port: z.int('must be a whole number from 1 to 65535').min(1, 'must be at least 1').max(65_535, 'must be at most 65535').default(587),
    tls: choice(['implicit', 'required', 'optional']).default('required').meta({
      description: 'implicit: from the first byte (port 465); required: STARTTLS or nothing; optional: STARTTLS when the server has it',
    }),
    username: z.string({ error: 'must be a string' }).max(500).optional(),
    password: z.string({ error: 'must be a string' }).max(2_000).optional().meta({ description: 'Not shown again' }),
  },
  'host, port, tls, username and password',
).refine(({ username, password }) => (username === undefined) === (password === undefined), {
  path: ['password'],
  message: 'username and password belong together; give both or none',
});

const email = strictShape(
  {
    type: z.literal('email'),
    ...common,
    to: z
      .array(mailAddress, { error: 'must be a list of mail addresses, e.g. ["ops@example.com"]' })
      .min(1, 'must name at least one address')
      .max(50, 'has more than 50 addresses; use a mailing list'),
    from: mailAddress.optional().meta({ description: 'Default: MAIL_FROM' }),
    smtp: smtp.optional().meta({ description: 'Mail server of this channel; default: SMTP_URL' }),
    templates: strictShape({ subject: SUBJECT, body: BODY }, 'subject and body').optional(),
  },
  'type: email, name and to',
).meta({ id: 'EmailChannel' });

const pagerduty = strictShape(
  {
    type: z.literal('pagerduty'),
    ...common,
    routingKey: z
      .string({ error: (issue) => (issue.input === undefined ? 'routingKey is required' : 'must be a string') })
      .regex(/^[A-Za-z0-9]{20,64}$/, 'must be the integration key of an Events API v2 integration: 32 letters and digits')
      .meta({ description: 'Integration key (Events API v2); not shown again' }),
    url: address('url').default(PAGERDUTY),
    severity: choice(['critical', 'error', 'warning', 'info'])
      .optional()
      .meta({ description: 'Default: warning for late, paused and interval_health, error for the rest' }),
    templates: strictShape({ subject: SUBJECT }, 'subject').optional(),
  },
  'type: pagerduty, name and routingKey',
).meta({ id: 'PagerDutyChannel', description: 'Opens an alert, and resolves it when the job has recovered' });

export const channelSchema = z.discriminatedUnion('type', [webhook, slack, email, pagerduty], {
  error: (issue) => {
    if (issue.code !== 'invalid_union') return `must be an object with a type: ${CHANNEL_TYPES.join(', ')}`;
    const type = (issue.input as { type?: unknown } | undefined)?.type;
    return typeof type === 'string'
      ? `unknown type of channel ${nearest(type, CHANNEL_TYPES)}`
      : `must be one of ${CHANNEL_TYPES.join(', ')}`;
  },
});
export type ChannelDocument = z.output<typeof channelSchema>;
export type Smtp = z.output<typeof smtp>;

/** A text whose own issue says already that it is no duration is not judged again. */
function isDuration(text: string): boolean {
  try {
    return durationMs(text) >= 0;
  } catch {
    return false;
  }
}
