/** How notifications leave: what the composition root passes in, because `jobs` may not import `activities`, where every outgoing socket is judged. */
import type { Socket } from 'node:net';

export type PostRequest = {
  url: string;
  /** Names in lower case. */
  headers: Record<string, string>;
  body: string;
  /** Look-up, connection, answer: all together. */
  timeoutMs: number;
  signal: AbortSignal;
};

/** `retryable`: the same may succeed later. `detail` is a sentence without secrets: the URL's origin at most. */
export type PostOutcome =
  | { status: 'delivered'; detail: string }
  | { status: 'failed'; retryable: boolean; detail: string; retryAfterMs?: number | undefined };

export type WaysOut = {
  /** One POST; redirects are not followed. Never rejects. */
  post: (request: PostRequest) => Promise<PostOutcome>;
  /** A TCP connection to an address that targets may reach. @throws an error that says why there is none; `code` ALMANAC_ADDRESS_REFUSED for good. */
  connect: (host: string, port: number, timeoutMs: number) => Promise<Socket>;
  close: () => Promise<void>;
};
