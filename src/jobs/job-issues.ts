/** What is wrong with a document, as a client can act on it: one entry per field, with a JSON Pointer, a sentence that says the cure, and a code. */
import { closest } from 'fastest-levenshtein';
import { z } from 'zod';
import { type FieldError, jsonPointer } from './errors.ts';

const LONGEST_SHOWN = 60;
const shown = (text: string): string => JSON.stringify(text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text);

/** `"colour", did you mean "color"?` among the names that are known. */
export const nearest = (given: string, known: readonly string[]): string =>
  known.length === 0
    ? shown(given)
    : `${shown(given)}, did you mean ${JSON.stringify(closest(given.slice(0, LONGEST_SHOWN), known as string[]))}?`;

/** An object that refuses keys it does not know and names the nearest one it does. */
export function strictShape<Shape extends z.ZodRawShape>(shape: Shape, what: string) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => `unknown key ${nearest(key, known)}`).join('\n');
      return issue.code === 'invalid_type' ? `must be an object: ${what}` : undefined;
    },
  });
}

/** A part of the document whose behaviour comes later: refused, never silently ignored. */
export const notSupportedYet = (key: string) => z.never({ error: `${key} is not supported yet; leave it out` }).optional();

/** A choice among words, refused with the nearest. */
export function choice<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words, {
    error: (issue) => {
      const list = words.map((word) => JSON.stringify(word)).join(', ');
      if (typeof issue.input !== 'string') return `must be one of ${list}`;
      return `unknown word ${nearest(issue.input, words)} One of ${list}`;
    },
  });
}

/** The issues of a failed parse, flat: one per unknown key, unions opened where one branch says more than the union. */
export function documentIssues(error: { issues: readonly z.core.$ZodIssue[] }): FieldError[] {
  return error.issues.flatMap((issue): FieldError[] => {
    const path = jsonPointer(issue.path);
    if (issue.code === 'unrecognized_keys') {
      const sentences = issue.message.split(/\n|; (?=unknown key )/);
      return issue.keys.map((key, index) => ({
        path: path + jsonPointer([key]),
        message: sentences[index] ?? issue.message,
        code: 'unknown_key',
      }));
    }
    if (issue.code === 'invalid_union') {
      const branch = issue.errors.find((branchIssues) => branchIssues.some((inner) => inner.code === 'custom'));
      if (branch) return documentIssues({ issues: branch.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] })) });
    }
    return [{ path, message: sentence(issue), code: codeOf(issue) }];
  });
}

/** A sentence may quote what was sent; however much that was, the answer stays short. */
const LONGEST_SENTENCE = 500;
const KINDS: Record<string, string> = {
  array: 'a list',
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  object: 'an object',
};

/** What an issue says to the caller: our own words also where the schema has none, and never longer than an answer should be. */
function sentence(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type' && issue.message.startsWith('Invalid ')) return `must be ${KINDS[issue.expected] ?? issue.expected}`;
  if (issue.code === 'invalid_value' && issue.message.startsWith('Invalid '))
    return `must be one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
  return issue.message.length > LONGEST_SENTENCE ? `${issue.message.slice(0, LONGEST_SENTENCE)}…` : issue.message;
}

function codeOf(issue: z.core.$ZodIssue): string {
  if (/ is not supported yet\b/.test(issue.message)) return 'not_supported_yet';
  if (/\bis required\b/.test(issue.message)) return 'required';
  if (issue.code === 'custom') return typeof issue.params?.code === 'string' ? issue.params.code : 'invalid';
  return issue.code;
}
