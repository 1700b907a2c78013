/** Finds file and line of a handler file that does not load: Node says both in the error, in several places, or only with `--check`. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';

/** Stops the start: a handler file that does not load. `message` begins with `file:line`. */
export class HandlerLoadError extends Error {
  override name = 'HandlerLoadError';
}

/**
 * The error of an import as one that names file and line.
 * @param file path of the handler file.
 * @param lastLoaded path of the file that Node read last: for a syntax error the culprit, which may be one that `file` imports.
 */
export async function handlerLoadError(file: string, lastLoaded: string, error: unknown): Promise<HandlerLoadError> {
  const { name, message, stack = '', code } = (error instanceof Error ? error : new Error(String(error))) as NodeJS.ErrnoException;
  const sentence = `${name === 'Error' ? '' : `${name}: `}${message}`.replaceAll('\n', ' ');
  const missing = code === 'ERR_MODULE_NOT_FOUND' ? placeOfImport(message) : null;
  const place =
    missing ?? placeInStack(stack, file) ?? (error instanceof SyntaxError ? await placeOfSyntaxError(lastLoaded) : null) ?? file;
  return new HandlerLoadError(`${place}: the handler file does not load: ${sentence}`, { cause: error });
}

/** The decorated first line (`/path/x.ts:3`), else the first frame in the file itself, else the first outside Node and packages. */
function placeInStack(stack: string, file: string): string | null {
  const decorated = /^(file:\/\/[^\n]+|\/[^\n]*|[A-Za-z]:[\\/][^\n]*):(\d+)\n/.exec(stack);
  if (decorated) return `${pathOf(decorated[1]!)}:${decorated[2]}`;
  const frames = [...stack.matchAll(/^\s+at .*?\(?(file:\/\/[^\n]+?):(\d+):\d+\)?$/gm)].map(([, url, line]) => ({
    path: fileURLToPath(url!.replace(/\?[^:]*$/, '')),
    line,
  }));
  const frame = frames.find(({ path }) => path === file);
  return frame ? `${frame.path}:${frame.line}` : null;
}

/** Node names the importing file but no line: the line is where the specifier stands. */
function placeOfImport(message: string): string | null {
  const match = /^Cannot find (?:package|module) '([^']+)' imported from (.+)$/m.exec(message);
  if (!match) return null;
  const [, specifier, importer] = match;
  const path = pathOf(importer!.trim());
  const ending = specifier!.split('/').at(-1)!;
  const lines = readFileSync(path, 'utf8').split('\n');
  const index = lines.findIndex((line) => /['"]/.test(line) && line.includes(ending) && /\b(import|from|require)\b/.test(line));
  return index < 0 ? path : `${path}:${index + 1}`;
}

/**
 * `import()` hides the line of an error that V8 finds in a module; `node --check` prints it. It reads no types, so that they are blanked out
 * before, which moves no line.
 */
function placeOfSyntaxError(path: string): Promise<string> {
  const text = readFileSync(path, 'utf8');
  const { promise, resolve } = Promise.withResolvers<string>();
  const check = execFile(process.execPath, ['--check', '--input-type=module', '-'], { timeout: 10_000 }, (_error, _stdout, stderr) => {
    const line = /^\[stdin\]:(\d+)$/m.exec(stderr)?.[1];
    resolve(line === undefined ? path : `${path}:${line}`);
  });
  check.stdin?.on('error', () => {});
  check.stdin?.end(/\.m?ts$/.test(path) ? stripTypeScriptTypes(text) : text);
  return promise;
}

/** Node writes either; only a URL is percent-encoded. */
const pathOf = (place: string) => (place.startsWith('file:') ? fileURLToPath(place) : place);
