/** What every route sees of a request, and what it answers. */
import type { Request, Response } from 'express';
import type { Caller } from '../jobs/caller.ts';
import type { IdempotencyContext, StoredResponse } from '../jobs/idempotency.ts';
import type { Preferences } from './prefer.ts';

/** What the middleware keeps beside a request. */
export type Locals = {
  requestId: string;
  startedAt: number;
  /** Pattern of the route that answered, for metrics and log: never the path itself. */
  route: string;
  holder?: string;
  /** Code of the problem that was answered. */
  code?: string;
};

export type ApiRequest = Request;
export type ApiResponse = Response<unknown, Locals>;

/** An answer: a status, JSON text (or none) and headers. Text, because lists come from Postgres as text and are passed on as they are. */
export type Reply = { status: number; json: string | null; headers?: Record<string, string> };

/** A call of a route: parsed once, handed to one use case. */
export type Call<Query = Record<string, unknown>> = {
  caller: Caller;
  /** Path parameters, decoded. */
  params: Record<string, string>;
  query: Query;
  body: unknown;
  preferences: Preferences;
  /** From If-Match; undefined when the header is missing. */
  ifMatch: ((generation: number) => boolean) | undefined;
  /** Makes the context that the use case claims the Idempotency-Key with; undefined without the header. */
  idempotency: <T>(render: (value: T) => Reply) => IdempotencyContext | undefined;
  /** Value of a header as it came. */
  header: (name: string) => string | undefined;
};

/** An answer with a value as JSON. */
export const reply = (status: number, value: unknown, headers?: Record<string, string>): Reply =>
  headers ? { status, json: JSON.stringify(value), headers } : { status, json: JSON.stringify(value) };

/** What of an answer is kept with an idempotency key. */
export const storedOf = (answer: Reply): StoredResponse => ({
  status: answer.status,
  location: answer.headers?.Location ?? null,
  body: answer.json ?? '',
});
