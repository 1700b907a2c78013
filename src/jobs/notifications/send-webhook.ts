/** Signed webhooks, as Standard Webhooks has them (https://www.standardwebhooks.com): id, time and signature in headers, type and data in the body. */
import { createHmac } from 'node:crypto';
import type { ChannelDocument } from './channel-document.ts';
import { headline } from './message.ts';
import type { Outgoing, SendOptions, SendOutcome } from './outgoing.ts';
import type { WaysOut } from './ways-out.ts';

type Webhook = Extract<ChannelDocument, { type: 'webhook' }>;

/** What a receiver gets; `type` is `job.failed`, …, or `channel.test`. */
export function webhookBody({ message }: Outgoing, publicUrl: string): string {
  const { kind, team, channel, from, to, events, jobCount, link } = message;
  return JSON.stringify({
    type: kind === 'test' ? 'channel.test' : `job.${kind}`,
    timestamp: to,
    data: {
      kind,
      headline: headline(message),
      team,
      channel,
      from,
      to,
      events,
      jobCount,
      jobs: message.jobs.map(({ link: ofJob, ...job }) => ({ ...job, url: `${publicUrl}${ofJob}` })),
      url: `${publicUrl}${link}`,
    },
  });
}

/** `v1,<base64 of HMAC-SHA256>` over id, time and body. @param timestamp seconds since 1970 */
export function webhookSignature(secret: string, id: string, timestamp: number, body: string): string {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}

export async function sendWebhook(waysOut: WaysOut, outgoing: Outgoing<Webhook>, options: SendOptions): Promise<SendOutcome> {
  const { id, channel } = outgoing;
  const body = webhookBody(outgoing, options.publicUrl);
  const timestamp = Math.floor(Date.now() / 1000);
  const users = Object.fromEntries(Object.entries(channel.headers).map(([name, value]) => [name.toLowerCase(), value]));
  return waysOut.post({
    url: channel.url,
    headers: {
      'content-type': 'application/json',
      ...users,
      'user-agent': 'Almanac',
      'webhook-id': id,
      'webhook-timestamp': String(timestamp),
      'webhook-signature': webhookSignature(channel.secret ?? '', id, timestamp, body),
      'idempotency-key': id,
    },
    body,
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  });
}
