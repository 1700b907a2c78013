/**
 * PagerDuty, Events API v2 (https://developer.pagerduty.com/docs/events-api-v2/trigger-events/): trouble opens an alert under a key, the job's recovery
 * resolves it. Both may be sent twice without harm: the key says that it is the same.
 */
import type { ChannelDocument } from './channel-document.ts';
import type { MessageKind } from './message.ts';
import type { Outgoing, SendOptions, SendOutcome } from './outgoing.ts';
import { ESCAPES, renderText, viewOf } from './templates.ts';
import { SUMMARY } from './texts.ts';
import type { WaysOut } from './ways-out.ts';

type PagerDuty = Extract<ChannelDocument, { type: 'pagerduty' }>;
const LONGEST_SUMMARY = 1_024;
const WARNINGS: readonly MessageKind[] = ['late', 'paused', 'interval_health'];

/** The requests that a delivery consists of. */
export function pagerDutyEvents(outgoing: Outgoing<PagerDuty>, publicUrl: string): object[] {
  const { channel, message, resolveKeys } = outgoing;
  const resolve = (key: string) => ({ routing_key: channel.routingKey, event_action: 'resolve', dedup_key: key });
  if (message.kind === 'recovered') return resolveKeys.map(resolve);
  const dedupKey = outgoing.dedupKey ?? outgoing.id;
  const view = viewOf(message, publicUrl) as { url: string };
  const { jobs, jobCount } = message;
  const one = jobCount === 1 ? jobs[0] : undefined;
  const summary = renderText(channel.templates?.subject ?? SUMMARY, view, ESCAPES.text).replaceAll(/\s+/g, ' ');
  const trigger = {
    routing_key: channel.routingKey,
    event_action: 'trigger',
    dedup_key: dedupKey,
    client: 'Almanac',
    ...(publicUrl === '' ? {} : { client_url: view.url, links: [{ href: view.url, text: 'Show in Almanac' }] }),
    payload: {
      summary: summary.slice(0, LONGEST_SUMMARY).toWellFormed() || 'Almanac',
      source: one?.name ?? 'almanac',
      severity: message.kind === 'test' ? 'info' : (channel.severity ?? (WARNINGS.includes(message.kind) ? 'warning' : 'error')),
      timestamp: message.to,
      group: message.team,
      class: message.kind,
      custom_details: {
        events: message.events,
        jobCount,
        jobs: jobs.map(({ id, name, slot, execution, reason }) => ({ id, name, slot, execution, reason })),
      },
    },
  };
  // a test leaves nothing behind
  return message.kind === 'test' ? [trigger, resolve(dedupKey)] : [trigger];
}

export async function sendPagerDuty(waysOut: WaysOut, outgoing: Outgoing<PagerDuty>, options: SendOptions): Promise<SendOutcome> {
  let outcome: SendOutcome = { status: 'delivered', detail: 'nothing to resolve' };
  for (const event of pagerDutyEvents(outgoing, options.publicUrl)) {
    outcome = await waysOut.post({
      url: outgoing.channel.url,
      headers: { 'content-type': 'application/json', 'user-agent': 'Almanac' },
      body: JSON.stringify(event),
      timeoutMs: options.timeoutMs,
      signal: options.signal,
    });
    if (outcome.status === 'failed') return outcome;
  }
  return outcome;
}
