/** A delivery on its way out, and what became of an attempt. */
import type { ChannelDocument } from './channel-document.ts';
import type { Message } from './message.ts';

export type Outgoing<Document extends ChannelDocument = ChannelDocument> = {
  /** Of the delivery: the same for all attempts, so that receivers can drop repeats. */
  id: string;
  channel: Document;
  message: Message;
  /** PagerDuty: the alert that it opens. */
  dedupKey: string | null;
  /** PagerDuty: the alerts that it closes. */
  resolveKeys: readonly string[];
};

export type SendOutcome =
  | { status: 'delivered'; detail: string }
  /** `retryable`: the same may succeed later, after `retryAfterMs` at the earliest. */
  | { status: 'failed'; retryable: boolean; detail: string; retryAfterMs?: number | undefined };

export type SendOptions = {
  /** Base of links, without a slash at its end; empty: there is none. */
  publicUrl: string;
  timeoutMs: number;
  signal: AbortSignal;
};
