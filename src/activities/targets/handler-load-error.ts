/** Finds file and line of a handler file that does not load: Node says both in the error, in several places, or for plain JavaScript only with `--check`. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
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
  const decorated = /^(?:file:\/\/)?(\/[^\n]*|[A-Za-z]:[\\/][^\n]*):(\d+)\n/.exec(stack);
  if (decorated) return `${decoded(decorated[1]!)}:${decorated[2]}`;
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
  const path = decoded(importer!.trim());
  const ending = specifier!.split('/').at(-1)!;
  const lines = readFileSync(path, 'utf8').split('\n');
  const index = lines.findIndex((line) => /['"]/.test(line) && line.includes(ending) && /\b(import|from|require)\b/.test(line));
  return index < 0 ? path : `${path}:${index + 1}`;
}

/** `import()` of JavaScript hides the line of a syntax error; `node --check` prints it. */
function placeOfSyntaxError(path: string): Promise<string | null> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--check', path], { timeout: 10_000 }, (_error, _stdout, stderr) => {
      const match = /^(?:file:\/\/)?(\/[^\n]*|[A-Za-z]:[\\/][^\n]*):(\d+)$/m.exec(stderr);
      resolve(match ? `${decoded(match[1]!)}:${match[2]}` : path);
    });
  });
}

const decoded = (path: string) => (path.includes('%') ? decodeURI(path) : path);
