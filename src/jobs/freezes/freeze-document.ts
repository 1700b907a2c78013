/** The document of a freeze: a window in which nothing in its scope starts, as people write it and as they are shown it. */
import { z } from 'zod';
import { type FieldError, JobError } from '../errors.ts';
import { choice, documentIssues, nearest, strictShape } from '../job-issues.ts';
import { jsonProblem } from '../job-json.ts';
import { instantSchema } from '../time/instant.ts';

export const FREEZE_SCOPES = ['global', 'team', 'service', 'category', 'tag', 'jobs'] as const;
export type FreezeScope = (typeof FREEZE_SCOPES)[number];
export const FREEZE_STATES = ['upcoming', 'active', 'draining', 'ended'] as const;
export type FreezeState = (typeof FREEZE_STATES)[number];

const MOST_TARGETS = 1_000;
const LONGEST_REASON = 1_000;
/** Longest window, and farthest beginning, days. */
const MOST_DAYS = 366;
const DAY_MS = 86_400_000;
/** Clocks of callers may be a little behind ours: so much of the past is taken for now. */
const BEHIND_MS = 60_000;

const reason = z
  .string({ error: (issue) => (issue.input === undefined ? 'reason is required: people will ask why nothing runs' : 'must be a string') })
  .max(LONGEST_REASON, `has more than ${LONGEST_REASON} characters`)
  .refine((text) => text.trim() !== '', 'must say why; it is empty');
const flag = z.boolean({ error: 'must be true or false' }).default(false);

export const freezeSchema = strictShape(
  {
    scope: choice(FREEZE_SCOPES).meta({
      description: '`global`: every job of every team; `team`: every job of your team; else the jobs that `targets` name',
    }),
    targets: z
      .array(z.string({ error: 'must be a string' }).min(1, 'must not be empty').max(320, 'has more than 320 characters'), {
        error: 'must be a list of names',
      })
      .max(MOST_TARGETS, `names more than ${MOST_TARGETS}; freeze by service, category or tag, or in several freezes`)
      .default([])
      .meta({
        description:
          'Names of services (which own jobs or are called by them), of categories, tags (`env` or `env:prod`), or ids or names of jobs; none for `global` and `team`',
      }),
    reason,
    from: instantSchema.optional().meta({ description: 'Default: now' }),
    to: instantSchema.optional().meta({ description: 'It ends by itself then; without it somebody ends it' }),
    drain: flag.meta({ description: 'Be told when nothing of it runs any more: state `draining` until then' }),
    cancelRunning: flag.meta({ description: 'Cancel what runs when it begins; else that may end in peace' }),
    dryRun: flag.meta({ description: 'Change nothing; answer which jobs it would hold' }),
  },
  'a freeze with scope and reason',
).meta({ id: 'FreezeDocument' });
export type FreezeRequest = z.output<typeof freezeSchema>;

const PATCHED = ['reason', 'to'] as const;
const FIXED = ['scope', 'targets', 'from', 'drain', 'cancelRunning'];
export const freezePatchSchema = z
  .strictObject(
    { reason: reason.optional(), to: instantSchema.nullable().optional().meta({ description: 'Null: until somebody ends it' }) },
    {
      error: (issue) => {
        if (issue.code === 'invalid_type') return 'must be an object: reason and to, both optional';
        if (issue.code !== 'unrecognized_keys') return undefined;
        return issue.keys
          .map((key) =>
            FIXED.includes(key)
              ? `${key} cannot be changed; end this freeze (or delete it, before it begins) and make another`
              : `unknown key ${nearest(key, PATCHED)}`,
          )
          .join('\n');
      },
    },
  )
  .meta({ id: 'FreezePatch' });
export type FreezePatch = z.output<typeof freezePatchSchema>;

/** A freeze as lists return it. Times are RFC 3339 in UTC. */
export type FreezeView = {
  id: string;
  team: string;
  scope: FreezeScope;
  targets: string[];
  reason: string;
  from: string;
  to: string | null;
  drain: boolean;
  cancelRunning: boolean;
  state: FreezeState;
  version: number;
  createdBy: string;
  createdAt: string;
  updatedAt: string;
  /** When it was over, by itself or by somebody. */
  endedAt: string | null;
  /** Who ended it; null: it ended by itself, or goes on. */
  endedBy: string | null;
  /** When nothing of what it covers ran any more; of those that drain or cancel. */
  drainedAt: string | null;
  /** When its slots were counted and what becomes of them was arranged. */
  settledAt: string | null;
};

/** Parses a body by a schema. @throws JobError `invalid` naming every wrong place. */
export function parseFreeze<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const unstorable = jsonProblem(body);
  if (unstorable) throw invalidFreeze([{ ...unstorable, code: 'invalid' }]);
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw invalidFreeze(documentIssues(parsed.error));
}

export function invalidFreeze(errors: FieldError[]): JobError {
  const first = errors[0];
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new JobError('invalid', 'invalid_freeze', `The freeze is not valid: ${first?.path || 'body'}: ${first?.message}${more}.`, {
    errors,
  });
}

/**
 * The window of a freeze that begins now or later.
 * @param now the database's time.
 * @throws JobError `invalid`
 */
export function windowOfFreeze(
  { from: fromText, to: toText }: Pick<FreezeRequest, 'from' | 'to'>,
  now: Date,
): { from: Date; to: Date | null } {
  const asked = fromText === undefined ? now : new Date(fromText);
  const errors: FieldError[] = [];
  if (asked.getTime() < now.getTime() - BEHIND_MS)
    errors.push(wrong('/from', `${fromText} has passed; leave from out to begin now`, 'in_the_past'));
  if (asked.getTime() > now.getTime() + MOST_DAYS * DAY_MS)
    errors.push(wrong('/from', `${fromText} is more than ${MOST_DAYS} days ahead; plan it nearer to its time`, 'too_far'));
  const from = asked < now ? now : asked;
  const to = toText === undefined ? null : new Date(toText);
  if (to) errors.push(...endErrors(from, to, now));
  if (errors.length > 0) throw invalidFreeze(errors);
  return { from, to };
}

/** What is wrong with the end of a freeze. */
export function endErrors(from: Date, to: Date, now: Date): FieldError[] {
  const text = to.toISOString();
  if (to <= now) return [wrong('/to', `${text} has passed; it must lie ahead`, 'in_the_past')];
  if (to <= from) return [wrong('/to', `${text} must be after from, ${from.toISOString()}`, 'empty_range')];
  if (to.getTime() - from.getTime() > MOST_DAYS * DAY_MS)
    return [wrong('/to', `makes the freeze longer than ${MOST_DAYS} days; leave to out, and end it when its reason is gone`, 'too_long')];
  return [];
}

const wrong = (path: string, message: string, code: string): FieldError => ({ path, message, code });
