/** What lies between two documents, as the two patches that people know: RFC 6902 (operations) and RFC 7396 (merge). Applying either to the first gives the second. */
import { applyPatch, createPatch, type Operation } from 'rfc6902';
import { isObject, mergePatch, sameJson } from '../job-json.ts';

export type DocumentDiff = {
  /** JSON Patch, RFC 6902; empty when they are the same. */
  patch: Operation[];
  /** JSON Merge Patch, RFC 7396, which PATCH takes; null when it can't say this: it has no way to set something to null. */
  mergePatch: unknown;
};

/** Lists are compared item by item as long as that is quick: so many pairs of items for one list, and for all of them. Beyond, a list is replaced as a whole. */
const PAIRS_OF_LIST = 2_500;
const PAIRS_OF_ALL = 100_000;

export function documentDiff(from: unknown, to: unknown): DocumentDiff {
  const merge = sameJson(from, to) ? {} : mergeBetween(from, to);
  return { patch: operationsBetween(from, to), mergePatch: sameJson(mergePatch(from, merge), to) ? merge : null };
}

function operationsBetween(from: unknown, to: unknown): Operation[] {
  let pairs = 0;
  const patch = createPatch(from, to, (a: unknown, b: unknown, at: { toString(): string }) => {
    if (!Array.isArray(a) || !Array.isArray(b)) return undefined;
    pairs += a.length * b.length;
    if (a.length * b.length <= PAIRS_OF_LIST && pairs <= PAIRS_OF_ALL) return undefined;
    return sameJson(a, b) ? [] : [{ op: 'replace', path: at.toString(), value: b }];
  });
  // keys like __proto__ are no keys to everybody
  const applied: unknown = structuredClone(from);
  const whole: Operation[] = [{ op: 'replace', path: '', value: to }];
  if (!isObject(applied)) return sameJson(from, to) ? [] : whole;
  const failed = applyPatch(applied, structuredClone(patch)).some((error) => error !== null);
  return !failed && sameJson(applied, to) ? patch : whole;
}

function mergeBetween(from: unknown, to: unknown): unknown {
  if (!isObject(from) || !isObject(to)) return to;
  const changes = new Map<string, unknown>();
  for (const key of Object.keys(from)) if (!Object.hasOwn(to, key)) changes.set(key, null);
  for (const [key, value] of Object.entries(to)) {
    if (!Object.hasOwn(from, key)) changes.set(key, value);
    else if (!sameJson(from[key], value)) changes.set(key, mergeBetween(from[key], value));
  }
  return Object.fromEntries(changes);
}
