/** One attempt to deliver, whatever the channel. */
import type { ChannelDocument } from './channel-document.ts';
import type { Outgoing, SendOutcome } from './outgoing.ts';
import { type MailSettings, sendMail } from './send-mail.ts';
import { sendPagerDuty } from './send-pagerduty.ts';
import { sendSlack } from './send-slack.ts';
import { sendWebhook } from './send-webhook.ts';
import type { WaysOut } from './ways-out.ts';

/** Never rejects. */
export type Send = (outgoing: Outgoing, signal: AbortSignal) => Promise<SendOutcome>;

const TIMEOUT_MS = 15_000;

export function createSender({
  waysOut,
  mail,
  publicUrl,
  timeoutMs = TIMEOUT_MS,
}: {
  waysOut: WaysOut;
  mail: MailSettings;
  publicUrl: string;
  timeoutMs?: number;
}): Send {
  return async (outgoing, signal) => {
    const options = { publicUrl, timeoutMs, signal };
    try {
      switch (outgoing.channel.type) {
        case 'webhook':
          return await sendWebhook(waysOut, of(outgoing, outgoing.channel), options);
        case 'slack':
          return await sendSlack(waysOut, of(outgoing, outgoing.channel), options);
        case 'email':
          return await sendMail(waysOut, mail, of(outgoing, outgoing.channel), options);
        case 'pagerduty':
          return await sendPagerDuty(waysOut, of(outgoing, outgoing.channel), options);
      }
    } catch (error) {
      // a message that cannot be put into words today can't be tomorrow either
      return { status: 'failed', retryable: false, detail: error instanceof Error ? error.message : String(error) };
    }
  };
}

const of = <Document extends ChannelDocument>(outgoing: Outgoing, channel: Document): Outgoing<Document> => ({ ...outgoing, channel });
