/**
 * Zod schemas as OpenAPI 3.1 schemas, which are JSON Schema 2020-12. zod writes them itself: the generator's own reading of zod stops at
 * custom checks, `never` and transforms, of which a strict document is full.
 */
import type { OpenAPIRegistry } from '@asteasolutions/zod-to-openapi';
import { z } from 'zod';

type JsonSchema = { [key: string]: unknown };

/** Returns a function that gives a schema, or a reference to it once it has been registered under its `id`. */
export function jsonSchemaOf(registry: OpenAPIRegistry) {
  const registered = new Set<string>();
  const keep = (name: string, schema: JsonSchema): void => {
    if (registered.has(name)) return;
    registered.add(name);
    registry.registerComponent('schemas', name, schema as object);
  };

  return (schema: z.ZodType, io: 'input' | 'output' = 'input'): JsonSchema => {
    const { $schema: _dialect, $defs: definitions, ...own } = z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as JsonSchema;
    for (const [name, definition] of Object.entries((definitions ?? {}) as Record<string, JsonSchema>))
      keep(name, tidy(definition) as JsonSchema);
    const tidied = tidy(own) as JsonSchema;
    const id = schema.meta()?.id;
    if (id === undefined) return tidied;
    keep(id, tidied);
    return { $ref: `#/components/schemas/${id}` };
  };
}

/** Points references at the components, and leaves out `id` and what a document may not hold at all. */
function tidy(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(tidy);
  if (typeof node !== 'object' || node === null) return node;
  const tidied: JsonSchema = {};
  for (const [key, value] of Object.entries(node)) {
    if (key === 'id' && typeof value === 'string') continue;
    // what every whole number has; pages that show the description make examples of it
    if ((key === 'minimum' || key === 'maximum') && Math.abs(value as number) === Number.MAX_SAFE_INTEGER) continue;
    if (key === '$ref' && typeof value === 'string') tidied.$ref = value.replace('#/$defs/', '#/components/schemas/');
    else if (key === 'properties')
      tidied.properties = Object.fromEntries(
        Object.entries(value as JsonSchema)
          .filter(([, property]) => !isNever(property))
          .map(([name, property]) => [name, tidy(property)]),
      );
    else if (key === 'default' || key === 'enum' || key === 'const' || key === 'example' || key === 'examples') tidied[key] = value;
    else tidied[key] = tidy(value);
  }
  return tidied;
}

const isNever = (schema: unknown) => JSON.stringify(schema) === '{"not":{}}';
