/** Reads docker-compose.yml into the shape its tests ask questions of. Only what our own file uses is covered. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';

const condition = z.enum(['service_started', 'service_healthy', 'service_completed_successfully']);
const healthcheck = z.union([
  z.strictObject({ disable: z.literal(true) }),
  z.strictObject({
    test: z.array(z.string()).min(2),
    interval: z.string(),
    timeout: z.string(),
    retries: z.number(),
    start_period: z.string(),
    start_interval: z.string(),
  }),
]);

/** Strict on purpose: a key that is misspelt, or that nobody has thought about, fails here instead of being ignored. */
const service = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.string() }).optional(),
  restart: z.string(),
  command: z.array(z.string()).optional(),
  entrypoint: z.array(z.string()).optional(),
  depends_on: z.record(z.string(), z.strictObject({ condition })).default({}),
  environment: z.record(z.string(), z.string()).default({}),
  secrets: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  networks: z.array(z.string()).min(1),
  deploy: z.strictObject({ replicas: z.number().int().min(1) }).optional(),
  healthcheck: healthcheck.optional(),
  stop_grace_period: z.string().optional(),
  security_opt: z.array(z.string()).default([]),
  cap_drop: z.array(z.string()).default([]),
  read_only: z.boolean().default(false),
  tmpfs: z.array(z.string()).default([]),
  shm_size: z.string().optional(),
});

const composeFile = z
  .object({
    name: z.string(),
    services: z.record(z.string(), service),
    secrets: z.record(z.string(), z.strictObject({ environment: z.string() })),
    networks: z.record(z.string(), z.strictObject({ internal: z.boolean().default(false) })),
    volumes: z.record(z.string(), z.strictObject({})),
  })
  .catchall(z.unknown());

export type ComposeService = z.infer<typeof service>;
export type ComposeFile = z.infer<typeof composeFile>;

/** @throws when the file is no YAML, or has a key or a shape that is not known here. */
export function readComposeFile(path: URL): ComposeFile {
  const file = composeFile.parse(parse(readFileSync(path, 'utf8'), { merge: true }));
  const strange = Object.keys(file).filter((key) => !key.startsWith('x-') && !(key in composeFile.shape));
  if (strange.length > 0) throw new Error(`unknown top-level keys: ${strange.join(', ')}`);
  return file;
}

export type Interpolation = { name: string; operator: ':-' | ':?' | ''; word: string };

/** Every `${NAME}`, `${NAME:-default}` and `${NAME:?message}` of the text. */
export const interpolationsOf = (text: string): Interpolation[] =>
  [...text.matchAll(/\$\{([A-Z][A-Z0-9_]*)(?:(:-|:\?)([^}]*))?\}/g)].map(([, name = '', operator = '', word = '']) => ({
    name,
    operator: operator as Interpolation['operator'],
    word,
  }));

/** The text with variables put in as compose does: the given value, else the default. @throws when a required one is missing. */
export const interpolate = (text: string, variables: Record<string, string>): string =>
  text.replace(/\$\{([A-Z][A-Z0-9_]*)(?:(:-|:\?)([^}]*))?\}/g, (_, name: string, operator?: string, word = '') => {
    const value = variables[name];
    if (value) return value;
    if (operator === ':-') return word;
    throw new Error(`${name}: ${operator === ':?' ? word : 'has no value and no default'}`);
  });
