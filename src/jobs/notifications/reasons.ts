/** Why something happened, in a few words, from an event's details. They are written by many: whatever they hold, this never throws. */
import { formatDuration } from '../time/duration.ts';
import type { MessageKind } from './message.ts';

const LONGEST = 500;

/** Null when the details tell nothing. */
export function reasonOf(kind: MessageKind, details: unknown): string | null {
  if (typeof details !== 'object' || details === null) return null;
  const found = words(kind, details as Record<string, unknown>);
  if (found === null || found === '') return null;
  return (found.length > LONGEST ? `${found.slice(0, LONGEST - 1)}…` : found).toWellFormed();
}

function words(kind: MessageKind, details: Record<string, unknown>): string | null {
  const number = (name: string): number | null => (typeof details[name] === 'number' && details[name] >= 0 ? details[name] : null);
  const text = (name: string): string | null => (typeof details[name] === 'string' && details[name] !== '' ? details[name] : null);
  if (kind === 'missed' && number('everyAtMostMs') !== null) return `no success for more than ${duration(number('everyAtMostMs')!)}`;
  if (kind === 'late' && text('dueAt')) return `was due at ${text('dueAt')} and has not begun`;
  if (kind === 'interval_health' && number('p95Ms') !== null && number('intervalMs') !== null)
    return `95 % of its executions end within ${duration(number('p95Ms')!)}, its interval is ${duration(number('intervalMs')!)}`;
  if (kind === 'recovered') {
    const failures = number('failures');
    if (failures !== null && failures > 0) return `after ${failures} ${failures === 1 ? 'failure' : 'failures'}`;
    return text('since') ? `had been in trouble since ${text('since')}` : null;
  }
  const { error } = details;
  const message = typeof error === 'object' && error !== null ? (error as { message?: unknown }).message : error;
  return (typeof message === 'string' && message !== '' ? message : null) ?? text('reason') ?? text('message') ?? text('note');
}

const duration = (ms: number): string => (ms <= Number.MAX_SAFE_INTEGER ? formatDuration(Math.round(ms)) : `${ms} ms`);
