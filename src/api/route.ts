/** A route: what it is called, what it takes, what it answers. One description serves the dispatcher and the OpenAPI document. */
import type { z } from 'zod';
import type { ContentType } from './body.ts';
import type { QuerySchema } from './query.ts';
import type { Call, Reply } from './request.ts';

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';
export type RouteGroup = 'jobs' | 'schedule' | 'executions';

export type RouteResponse = { description: string; schema?: z.ZodType; headers?: Record<string, string> };

export type RouteSpec<Query extends QuerySchema = QuerySchema> = {
  method: Method;
  /** Express pattern: `/api/v1/jobs/:job`. */
  path: string;
  operationId: string;
  summary: string;
  description?: string;
  query?: Query;
  body?: { schema: z.ZodType; required: boolean; type?: ContentType; example?: unknown };
  /** `batch` takes the large body limit. */
  bodyLimit?: 'batch';
  /** False for a POST that changes nothing: its Idempotency-Key is not looked at. */
  idempotent?: boolean;
  /** Answers other than problems, by status. */
  responses: Record<number, RouteResponse>;
  /** Statuses of problems of its own, besides those that every route has. */
  problems?: readonly number[];
  /** Headers it reads. */
  headers?: readonly ('If-Match' | 'If-None-Match' | 'Prefer')[];
  /** Not listed in the OpenAPI document: an alias of another. */
  alias?: boolean;
  handle: (call: Call<z.output<Query>>) => Promise<Reply>;
};

/** Lets TypeScript know a route's query inside its `handle`; nothing else. */
export const route = <Query extends QuerySchema>(spec: RouteSpec<Query>): RouteSpec => spec as unknown as RouteSpec;

export type RoutesOfGroup = { group: RouteGroup; tag: string; routes: RouteSpec[] };
