/** The OpenAPI 3.1 document, built from the same routes and zod schemas that answer. */
import { OpenAPIRegistry, OpenApiGeneratorV31, type RouteConfig } from '@asteasolutions/zod-to-openapi';
import { z } from 'zod';
import { jsonSchemaOf } from './openapi-schema.ts';
import type { RouteSpec, RoutesOfGroup } from './route.ts';

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string().meta({ description: 'Stable word for programs' }),
    errors: z
      .array(
        z.object({
          path: z.string().meta({ description: 'JSON Pointer into the body, or query/…, path/…, header/…' }),
          message: z.string(),
          code: z.string(),
        }),
      )
      .optional(),
    requestId: z.string(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details' });

const PROBLEMS: Record<number, string> = {
  400: 'The request cannot be read',
  401: 'No valid API key',
  404: 'Not found',
  409: 'Conflict, or refused in the present state',
  412: 'Changed meanwhile: If-Match does not hold',
  413: 'The body is too large',
  415: 'Another content type is needed',
  422: 'Not valid: `errors` names each place',
  429: 'Too many requests; Retry-After says when',
  503: 'Postgres or Temporal is away; Retry-After says when',
};
/** What any route may answer, and what only those with a body or with path parameters may. */
const ALWAYS = [400, 401, 429, 503];
const WITH_BODY = [413, 415, 422];

const HEADERS = {
  'If-Match': 'ETag of the generation that may be changed; 412 when it is another by now',
  'If-None-Match': 'ETags the client has; 304 when one still holds',
  Prefer: '`respond-async`: answer without waiting for Temporal',
  'Idempotency-Key': 'The same key and body get the same answer for 24 h; 1–255 visible characters',
};

/** @param settings.url public base address; empty means the address the document came from. */
export function createOpenApiDocument(
  groups: readonly RoutesOfGroup[],
  settings: { version: string; url: string },
): Record<string, unknown> {
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer', description: 'An API key' });
  registry.registerComponent('securitySchemes', 'apiKey', { type: 'apiKey', in: 'header', name: 'X-API-Key' });
  const schemas = jsonSchemaOf(registry);
  for (const { tag, routes } of groups) {
    for (const spec of routes) if (!spec.alias) registry.registerPath(pathOf(spec, tag, schemas));
  }
  const document = new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'Almanac',
      version: settings.version,
      description: 'A durable job scheduler for a whole company. Times are RFC 3339 in UTC, durations texts such as "30s".',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: settings.url || '/' }],
    security: [{ bearer: [] }, { apiKey: [] }],
    tags: groups.map(({ tag }) => ({ name: tag })).filter((tag, index, all) => all.findIndex((other) => other.name === tag.name) === index),
  });
  return document as unknown as Record<string, unknown>;
}

type SchemaOf = ReturnType<typeof jsonSchemaOf>;

function pathOf(spec: RouteSpec, tag: string, schemaOf: SchemaOf): RouteConfig {
  const names = [...spec.path.matchAll(/:([a-z]+)/gi)].map((match) => match[1] as string);
  const headers = [...(spec.headers ?? []), ...(spec.method === 'post' && spec.idempotent !== false ? (['Idempotency-Key'] as const) : [])];
  const problems = new Set([
    ...ALWAYS,
    ...(names.length > 0 ? [404] : []),
    ...(spec.body ? WITH_BODY : []),
    ...(spec.query ? [422] : []),
    ...(spec.problems ?? []),
  ]);
  return {
    method: spec.method,
    path: spec.path.replaceAll(/:([a-z]+)/gi, '{$1}'),
    operationId: spec.operationId,
    summary: spec.summary,
    ...(spec.description ? { description: spec.description } : {}),
    tags: [tag],
    parameters: [
      ...names.map((name) => ({
        name,
        in: 'path' as const,
        required: true,
        schema: { type: 'string' as const },
        description: PARAMETERS[name] ?? name,
      })),
      ...Object.entries(spec.query?.shape ?? {}).map(([name, schema]) => {
        const { description, ...rest } = schemaOf(schema as z.ZodType) as { description?: string };
        return { name, in: 'query' as const, required: false, schema: rest, ...(description ? { description } : {}) };
      }),
      ...headers.map((name) => ({
        name,
        in: 'header' as const,
        required: false,
        schema: { type: 'string' as const },
        description: HEADERS[name],
      })),
    ],
    ...(spec.body
      ? {
          request: {
            body: {
              required: spec.body.required,
              content: {
                [spec.body.type ?? 'application/json']: {
                  schema: schemaOf(spec.body.schema),
                  ...(spec.body.example === undefined ? {} : { example: spec.body.example }),
                },
              },
            },
          },
        }
      : {}),
    responses: {
      ...Object.fromEntries(
        Object.entries(spec.responses).map(([status, { description, schema, headers: answered }]) => [
          status,
          {
            description,
            ...(answered
              ? {
                  headers: Object.fromEntries(
                    Object.entries(answered).map(([name, text]) => [name, { description: text, schema: { type: 'string' as const } }]),
                  ),
                }
              : {}),
            ...(schema ? { content: { 'application/json': { schema: schemaOf(schema) } } } : {}),
          },
        ]),
      ),
      ...Object.fromEntries(
        [...problems]
          .sort()
          .map((status) => [
            status,
            { description: PROBLEMS[status] ?? 'Problem', content: { 'application/problem+json': { schema: schemaOf(problemSchema) } } },
          ]),
      ),
    },
  };
}

const PARAMETERS: Record<string, string> = {
  channel: "The channel's id or name",
  delivery: "The delivery's id",
  job: "The job's id or name",
  service: "The service's id or name",
  execution: "The execution's id",
  generation: 'Number of the revision',
  calendar: "The calendar's name",
  version: 'Number of the version',
};
