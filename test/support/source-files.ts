/** The repository's own source files and what each imports, for the rules that test/house.test.ts holds. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export type Import = {
  /** A package name, `node:…`, or for a file of ours its path from the repository's root. */
  from: string;
  /** Erased when the program runs: `import type` or `export type`. */
  typeOnly: boolean;
};
export type SourceFile = { path: string; text: string; lines: number; imports: Import[] };

const root = fileURLToPath(new URL('../../', import.meta.url));
const NOT_OURS = new Set(['node_modules', 'dist', 'histories', '.almanac']);
// A statement begins at the start of its line: text in comments and strings is indented or behind a sign.
const STATEMENT = /^(?:import|export)\s+(type\s+)?(?:[\w$*{][^;'"]*?\s+from\s+)?['"]([^'"]+)['"]/gm;
const CALL = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

/** All `.ts`, `.mts`, `.mjs` and `.js` files under the folder, by path from the root. A folder that is not there has none. */
export function sourceFilesIn(folder: string): SourceFile[] {
  let entries: string[];
  try {
    entries = readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return entries
    .filter((entry) => /\.(m?ts|m?js)$/.test(entry) && !entry.split(path.sep).some((part) => NOT_OURS.has(part)))
    .map((entry) => sourceFile(`${folder}/${entry.split(path.sep).join('/')}`))
    .sort((a, b) => a.path.localeCompare(b.path));
}

function sourceFile(file: string): SourceFile {
  const text = readFileSync(path.join(root, file), 'utf8');
  return { path: file, text, lines: text.split('\n').length - (text.endsWith('\n') ? 1 : 0), imports: importsOf(file, text) };
}

/** What a file with this text imports, statically or by a call with a literal. */
export const importsOf = (file: string, text: string): Import[] => [
  ...[...text.matchAll(STATEMENT)].map(([, type, from = '']) => ({ from: resolve(file, from), typeOnly: type !== undefined })),
  // A type that stands in parentheses, `import('x').Y`, is erased too, but nobody here writes that: it counts as a value.
  ...[...text.matchAll(CALL)].map(([, from = '']) => ({ from: resolve(file, from), typeOnly: false })),
];

const resolve = (file: string, from: string): string => {
  if (from.startsWith('.')) return path.posix.join(path.posix.dirname(file), from);
  const parts = from.split('/');
  return from.startsWith('node:') ? from : parts.slice(0, from.startsWith('@') ? 2 : 1).join('/');
};

/** Text without comments, so that a rule about code does not stumble over what is said about it. */
export const withoutComments = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1');
