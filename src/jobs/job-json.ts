/** JSON values as they come from a request body: what can be stored, when two are equal, and RFC 7396 merge patches. */

import { jsonPointer } from './errors.ts';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Deeper values are refused: everything that walks them (JSON.stringify, Postgres, other languages' clients) is recursive somewhere. */
export const DEEPEST = 100;

/**
 * The first thing in a value that can't be kept, as a JSON Pointer and a sentence; null when there is none. Walks without recursion, so that no depth can
 * overflow the stack.
 */
export function jsonProblem(value: unknown): { path: string; message: string } | null {
  const open: { value: unknown; path: string; depth: number }[] = [{ value, path: '', depth: 0 }];
  for (let next = open.pop(); next; next = open.pop()) {
    const { value: current, path, depth } = next;
    if (typeof current === 'string' && textProblem(current)) return { path, message: textProblem(current)! };
    if (typeof current === 'number' && !Number.isFinite(current))
      return { path, message: 'is too large for a number; write it as a string' };
    if (typeof current !== 'object' || current === null) continue;
    if (depth >= DEEPEST) return { path: '', message: `is nested more than ${DEEPEST} levels deep; make it flatter` };
    for (const [key, inner] of Object.entries(current)) {
      const keyProblem = textProblem(key);
      if (keyProblem) return { path, message: `has a key that ${keyProblem}` };
      if (typeof inner !== 'boolean' && inner !== null) open.push({ value: inner, path: path + jsonPointer([key]), depth: depth + 1 });
    }
  }
  return null;
}

/** Postgres can store neither (https://www.postgresql.org/docs/current/datatype-json.html). */
function textProblem(text: string): string | null {
  if (text.includes('\0')) return 'holds a NUL character; leave it out';
  return text.isWellFormed() ? null : 'holds half of a surrogate pair; send well-formed Unicode';
}

/** True when two JSON values are the same, whatever the order of their keys. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && sameJson((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]));
}

/**
 * RFC 7396 merge patch: objects are merged key by key, null removes, everything else replaces. Neither argument is changed.
 * A key named `__proto__` is a key like any other.
 */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged = new Map<string, unknown>(isObject(target) ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else merged.set(key, mergePatch(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
