/** The handlers of this worker: every file of a folder is loaded at the start, and one that can't be stops it. */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { registerHooks } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { z } from 'zod';
import { type Handler, isHandler } from '../../handlers.ts';
import { HandlerLoadError, handlerLoadError } from './handler-load-error.ts';
import { resolveHandlerImports } from './handler-resolution.ts';

export type HandlerDescription = {
  name: string;
  description: string | null;
  /** JSON Schema (2020-12) of the input; null when anything goes, or when the schema has no JSON form. */
  input: Record<string, unknown> | null;
  timeoutMs: number | null;
};

export type HandlerRegistry = {
  get: (name: string) => Handler | undefined;
  /** Sorted. */
  names: () => string[];
  /** Sorted by name; for listings and for the 422 of an unknown handler. */
  describe: () => HandlerDescription[];
};

type Found = { handler: Handler; file: string };

const LOADED = /\.(ts|mts|js|mjs)$/;
const IGNORED = /\.(test|spec)\.[a-z]+$|\.d\.m?ts$/;

/**
 * Loads the handlers of folders: each `.ts`, `.js`, `.mjs` file directly in it, and the `index` file of each folder in it; tests, declarations, hidden
 * folders and node_modules are left alone.
 * @param folders paths, relative to the working directory; the same folder twice is loaded once.
 * @throws HandlerLoadError naming file and line for a file that does not load, exports no handler, or repeats a name.
 */
export async function loadHandlers(...folders: string[]): Promise<HandlerRegistry> {
  resolveHandlerImports();
  const files = new Set<string>();
  for (const folder of folders) for (const file of await handlerFiles(resolve(folder))) files.add(file);
  const byName = new Map<string, Found>();
  for (const file of files) {
    for (const handler of await handlersOf(file)) {
      const other = byName.get(handler.name);
      if (other) {
        throw new HandlerLoadError(
          `${await placeOfName(file, handler.name, other.file === file ? 1 : 0)}: the handler name "${handler.name}" is already taken by ${await placeOfName(other.file, handler.name)}; rename one`,
        );
      }
      byName.set(handler.name, { handler, file });
    }
  }
  return registryOf([...byName.values()].map(({ handler }) => handler));
}

function registryOf(handlers: Handler[]): HandlerRegistry {
  const byName = new Map(handlers.map((handler) => [handler.name, handler]));
  const names = [...byName.keys()].sort();
  const described = names.map((name) => describe(byName.get(name)!));
  return { get: (name) => byName.get(name), names: () => names, describe: () => described };
}

function describe({ name, description, input, timeoutMs }: Handler): HandlerDescription {
  return { name, description, input: input === null ? null : jsonSchemaOf(input), timeoutMs };
}

function jsonSchemaOf(schema: z.ZodType): Record<string, unknown> | null {
  try {
    return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  } catch {
    return null;
  }
}

/** Paths of the files to load, sorted; the real ones, so that a link does not load a file twice. */
async function handlerFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw new HandlerLoadError(`${folder}: the folder of handlers can't be read: ${error.message}`, { cause: error });
  });
  const files: string[] = [];
  for (const entry of entries.sort()) {
    if (entry.startsWith('.') || entry === 'node_modules') continue;
    const path = join(folder, entry);
    if ((await stat(path)).isDirectory()) {
      const index = (await readdir(path)).sort().find((name) => /^index\.(ts|mts|js|mjs)$/.test(name));
      if (index !== undefined) files.push(await realpath(join(path, index)));
    } else if (LOADED.test(entry) && !IGNORED.test(entry)) files.push(await realpath(path));
  }
  return files;
}

async function handlersOf(file: string): Promise<Handler[]> {
  let lastLoaded = file;
  const watch = registerHooks({
    load(url, context, nextLoad) {
      if (url.startsWith('file:')) lastLoaded = fileURLToPath(url);
      return nextLoad(url, context);
    },
  });
  try {
    const exported: Record<string, unknown> = await import(pathToFileURL(file).href);
    // A CommonJS file's exports are its default export, and its named ones besides.
    const values = [...Object.values(exported), ...(typeof exported.default === 'object' ? Object.values(exported.default ?? {}) : [])];
    const handlers = [...new Set(values.filter(isHandler))];
    if (handlers.length > 0) return handlers;
  } catch (error) {
    throw await handlerLoadError(file, lastLoaded, error);
  } finally {
    watch.deregister();
  }
  throw new HandlerLoadError(
    `${file}:1: the file exports no handler; export what defineHandler returns, or move the file into a folder below if it is only imported by others`,
  );
}

/** `file:line` where a handler's name stands for the first (0), second … time; the file alone when the name is put together at run time. */
async function placeOfName(file: string, name: string, nth = 0): Promise<string> {
  const lines = (await readFile(file, 'utf8')).split('\n');
  const found = lines.flatMap((line, index) =>
    ["'", '"', '`'].some((quote) => line.includes(`${quote}${name}${quote}`)) ? [index + 1] : [],
  );
  const line = found[nth] ?? found[0];
  return line === undefined ? file : `${file}:${line}`;
}
