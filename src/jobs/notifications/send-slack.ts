/** Slack's incoming webhooks: one text in Slack's markup (https://api.slack.com/messaging/webhooks), which many others take too. */
import type { ChannelDocument } from './channel-document.ts';
import type { Outgoing, SendOptions, SendOutcome } from './outgoing.ts';
import { ESCAPES, renderText, viewOf } from './templates.ts';
import { SLACK, SLACK_WITHOUT_LINKS } from './texts.ts';
import type { WaysOut } from './ways-out.ts';

type Slack = Extract<ChannelDocument, { type: 'slack' }>;
/** Slack cuts at 40,000 characters. */
const LONGEST = 30_000;

export function slackText({ channel, message }: Outgoing<Slack>, publicUrl: string): string {
  const template = channel.templates?.body ?? (publicUrl === '' ? SLACK_WITHOUT_LINKS : SLACK);
  return renderText(template, viewOf(message, publicUrl), ESCAPES.slack).slice(0, LONGEST).toWellFormed();
}

export const sendSlack = (waysOut: WaysOut, outgoing: Outgoing<Slack>, options: SendOptions): Promise<SendOutcome> =>
  waysOut.post({
    url: outgoing.channel.url,
    headers: { 'content-type': 'application/json', 'user-agent': 'Almanac', 'idempotency-key': outgoing.id },
    body: JSON.stringify({ text: slackText(outgoing, options.publicUrl) }),
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  });
