/** What a freeze names: each name must mean something now, because a freeze that holds nothing for a misspelt name is worse than none. */
import { closest } from 'fastest-levenshtein';
import type { Queryable } from '../../postgres.ts';
import type { FieldError } from '../errors.ts';
import { isJobId } from '../ids.ts';
import { type FreezeScope, invalidFreeze } from './freeze-document.ts';

/** Names looked through for the nearest one. */
const MOST_NAMES = 500;
const LONGEST_SHOWN = 60;

type Resolved = { found: Map<string, string>; nearestOf: (missing: string) => Promise<string> };

/**
 * The targets as they are stored: each once, services by name, jobs by id.
 * @throws JobError `invalid` naming each target that means nothing, with the nearest that does.
 */
export async function resolveTargets(database: Queryable, team: string, scope: FreezeScope, targets: readonly string[]): Promise<string[]> {
  if (scope === 'global' || scope === 'team') {
    if (targets.length === 0) return [];
    const held = scope === 'team' ? "all of your team's jobs" : 'all jobs of all teams';
    throw invalidFreeze([{ path: '/targets', message: `scope ${scope} holds ${held}; leave targets out`, code: 'not_with_scope' }]);
  }
  if (targets.length === 0) {
    const what = { service: 'services', category: 'categories', tag: 'tags', jobs: 'jobs' }[scope];
    throw invalidFreeze([{ path: '/targets', message: `is required for scope ${scope}: name the ${what}`, code: 'required' }]);
  }
  const wanted = targets.map((target) => target.normalize('NFC'));
  const { found, nearestOf } = await RESOLVERS[scope](database, team, [...new Set(wanted)]);
  const errors: FieldError[] = [];
  for (const [nth, target] of wanted.entries()) {
    if (found.has(target)) continue;
    errors.push({ path: `/targets/${nth}`, message: await nearestOf(target), code: `unknown_${scope === 'jobs' ? 'job' : scope}` });
    if (errors.length === 20) break;
  }
  if (errors.length > 0) throw invalidFreeze(errors);
  return [...new Set(wanted.map((target) => found.get(target)!))];
}

const RESOLVERS: Record<
  Exclude<FreezeScope, 'global' | 'team'>,
  (database: Queryable, team: string, wanted: string[]) => Promise<Resolved>
> = {
  service: async (database, team, wanted) => {
    const { rows } = await database.query<{ id: string; name: string }>(
      'SELECT id, name FROM services WHERE team = $1 AND (name = ANY ($2::text[]) OR id = ANY ($2::text[]))',
      [team, wanted],
    );
    return {
      found: new Map(rows.flatMap(({ id, name }) => [[id, name] as const, [name, name] as const])),
      nearestOf: suggesting('is not a registered service', () =>
        names(database, 'SELECT name FROM services WHERE team = $1 ORDER BY name LIMIT $2', team),
      ),
    };
  },
  category: async (database, team, wanted) => {
    const { rows } = await database.query<{ name: string }>(
      'SELECT w.name FROM unnest($2::text[]) AS w (name) WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.team = $1 AND j.category = w.name AND j.deleted_at IS NULL)',
      [team, wanted],
    );
    return {
      found: same(rows),
      nearestOf: suggesting('is no category of any job', () =>
        names(
          database,
          'SELECT DISTINCT category AS name FROM jobs WHERE team = $1 AND category IS NOT NULL AND deleted_at IS NULL LIMIT $2',
          team,
        ),
      ),
    };
  },
  tag: async (database, team, wanted) => {
    const { rows } = await database.query<{ name: string }>(
      `SELECT w.name FROM unnest($2::text[]) AS w (name)
        WHERE EXISTS (
          SELECT 1 FROM jobs j
           WHERE j.team = $1 AND j.deleted_at IS NULL AND j.tags ->> split_part(w.name, ':', 1) IS NOT NULL
             AND (position(':' IN w.name) = 0 OR j.tags ->> split_part(w.name, ':', 1) = substr(w.name, position(':' IN w.name) + 1)))`,
      [team, wanted],
    );
    return {
      found: same(rows),
      nearestOf: suggesting('is no tag of any job', () =>
        names(
          database,
          `SELECT DISTINCT n.name FROM jobs j, LATERAL jsonb_each_text(j.tags) t, LATERAL (VALUES (t.key), (t.key || ':' || t.value)) n (name)
            WHERE j.team = $1 AND j.deleted_at IS NULL LIMIT $2`,
          team,
        ),
      ),
    };
  },
  jobs: async (database, team, wanted) => {
    const { rows } = await database.query<{ id: string; name: string }>(
      'SELECT id, name FROM jobs WHERE team = $1 AND deleted_at IS NULL AND (name = ANY ($2::text[]) OR id = ANY ($2::text[]))',
      [team, wanted],
    );
    return {
      found: new Map(rows.flatMap(({ id, name }) => [[id, id] as const, [name, id] as const])),
      nearestOf: async (missing) => {
        if (isJobId(missing)) return `there is no job ${missing}; GET /api/v1/jobs lists all jobs`;
        const alike = await database.query<{ name: string }>(
          `SELECT name FROM jobs WHERE team = $1 AND deleted_at IS NULL
            ORDER BY lower(left(name, 3)) = lower(left($2, 3)) DESC, abs(length(name) - length($2)), name LIMIT $3`,
          [team, missing, MOST_NAMES],
        );
        return suggestion(
          missing,
          'is neither id nor name of a job',
          alike.rows.map(({ name }) => name),
        );
      },
    };
  },
};

const same = (rows: { name: string }[]) => new Map(rows.map(({ name }) => [name, name]));

async function names(database: Queryable, statement: string, team: string): Promise<string[]> {
  const { rows } = await database.query<{ name: string }>(statement, [team, MOST_NAMES]);
  return rows.map(({ name }) => name);
}

/** The known names are read once, and only when something is missing. */
function suggesting(problem: string, known: () => Promise<string[]>): (missing: string) => Promise<string> {
  let read: Promise<string[]> | undefined;
  return async (missing) => {
    read ??= known();
    return suggestion(missing, problem, await read);
  };
}

function suggestion(missing: string, problem: string, known: readonly string[]): string {
  const shown = JSON.stringify(missing.length > LONGEST_SHOWN ? `${missing.slice(0, LONGEST_SHOWN)}…` : missing);
  if (known.length === 0) return `${shown} ${problem}; there is none yet`;
  return `${shown} ${problem}; did you mean ${JSON.stringify(closest(missing.slice(0, LONGEST_SHOWN), known as string[]))}?`;
}
