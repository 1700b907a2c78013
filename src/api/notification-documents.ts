/** What the notification routes answer, for the OpenAPI document. */
import { z } from 'zod';
import { channelSchema } from '../jobs/notifications/channel-document.ts';
import { DELIVERY_STATES } from '../jobs/notifications/delivery-log-store.ts';
import { teamRulesSchema } from '../jobs/notifications/notify-rules.ts';

const time = z.iso.datetime();

export const channelViewSchema = z
  .intersection(channelSchema, z.object({ id: z.string(), generation: z.int(), createdBy: z.string(), createdAt: time, updatedAt: time }))
  .meta({ id: 'Channel', description: 'Secrets are shown as stars; written back as they are, they keep their values' });

export const rulesViewSchema = z
  .object({
    ...teamRulesSchema.shape,
    generation: z.int().meta({ description: '0: never written' }),
    updatedBy: z.string().nullable(),
    updatedAt: time.nullable(),
  })
  .meta({ id: 'NotificationRulesView' });

export const muteViewSchema = z
  .object({
    jobId: z.string(),
    mutedUntil: time.nullable().meta({ description: 'Null: not muted' }),
    reason: z.string().nullable(),
    mutedBy: z.string().nullable(),
    mutedAt: time.nullable(),
  })
  .meta({ id: 'JobMute' });

const attempt = z.object({ at: time, outcome: z.enum(['delivered', 'failed']), detail: z.string(), durationMs: z.int() });

export const deliverySchema = z
  .object({
    id: z.string().meta({ description: 'Also `webhook-id`, the same on every attempt' }),
    channelId: z.string(),
    channel: z.string(),
    channelType: z.string(),
    kind: z.string().meta({ description: 'Of its events, or `test`' }),
    state: z.enum(DELIVERY_STATES),
    reason: z.string().nullable().meta({
      description:
        'Why it is held or was not sent: quiet_hours, channel_muted, job_muted, channel_deleted, recovered, nothing_to_resolve, refused, gave_up',
    }),
    events: z.int(),
    attempts: z.int(),
    lastAttempt: attempt.nullable(),
    nextAttemptAt: time.nullable(),
    requestedBy: z.string().nullable().meta({ description: 'Who asked for it: a test, or the last redelivery' }),
    createdAt: time,
    finishedAt: time.nullable(),
  })
  .meta({ id: 'Delivery' });

export const deliveryDetailSchema = z
  .object({
    ...deliverySchema.shape,
    message: z.unknown().meta({ description: 'What is said; null while it gathers' }),
    attemptLog: z.array(attempt).meta({ description: 'The last 20' }),
    jobs: z.array(z.object({ id: z.string(), name: z.string(), events: z.int() })).meta({ description: 'The first 1,000' }),
  })
  .meta({ id: 'DeliveryDetail' });
