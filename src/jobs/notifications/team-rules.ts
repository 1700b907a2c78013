/** Use cases on the rules of a team: who is told what of all its jobs, or of those that a filter names. */
import { inTransaction, type Pool, type Queryable, type Transaction } from '../../postgres.ts';
import { auditInsert } from '../audit.ts';
import type { Caller } from '../caller.ts';
import { type FieldError, JobError } from '../errors.ts';
import { documentIssues } from '../job-issues.ts';
import { isObject, jsonProblem, sameJson } from '../job-json.ts';
import type { WriteOptions, Written } from '../jobs.ts';
import { channelErrors } from './channel-references.ts';
import { type TeamRules, teamRulesSchema } from './notify-rules.ts';

export type TeamRulesView = TeamRules & { generation: number; updatedBy: string | null; updatedAt: string | null };
export type TeamNotify = ReturnType<typeof createTeamNotify>;

const READ_ONLY_KEYS = ['generation', 'updatedBy', 'updatedAt'];
const NONE: TeamRulesView = { rules: [], generation: 0, updatedBy: null, updatedAt: null };

export function createTeamNotify({ pool }: { pool: Pool }) {
  return {
    /** A team that has never written any has none, at generation 0. */
    async get(caller: Caller): Promise<Written<TeamRulesView>> {
      const value = await rulesFind(pool, caller.team);
      return { value, generation: value.generation };
    },

    /**
     * Replaces all rules.
     * @throws JobError `invalid` naming every wrong place, also channels that are not there; `precondition`
     */
    async put(caller: Caller, body: unknown, options: Pick<WriteOptions, 'ifMatch'> = {}): Promise<Written<TeamRulesView>> {
      const rules = parse(body);
      return inTransaction(pool, async (tx) => {
        const before = await rulesLock(tx, caller.team);
        if (options.ifMatch && !options.ifMatch(before.generation)) throw hasChanged(before.generation);
        const errors = await channelErrors(tx, caller.team, [{ path: '/rules', rules: rules.rules }], { lock: true });
        if (errors.length > 0) throw invalidRules(errors.map(({ nth: _nth, ...error }) => error));
        if (sameJson({ rules: before.rules }, rules)) return { value: before, generation: before.generation };
        const value = await rulesWrite(tx, caller, rules);
        if (asksSucceeded(before.rules) || asksSucceeded(rules.rules)) await recountAsk(tx, caller.team, '');
        await auditInsert(tx, caller, {
          action: 'notification_rules.updated',
          subjectKind: 'notification_rules',
          subjectId: caller.team,
          before: { rules: before.rules },
          after: rules,
        });
        return { value, generation: value.generation };
      });
    },
  };
}

export const asksSucceeded = (rules: readonly { on: readonly string[] }[]): boolean => rules.some(({ on }) => on.includes('succeeded'));

/** Has the controller look which jobs' successes are asked for now. @param service empty: all jobs of the team */
export async function recountAsk(tx: Transaction, team: string, service: string): Promise<void> {
  await tx.query(
    `INSERT INTO notify_recounts (team, service) VALUES ($1, $2)
     ON CONFLICT (team, service) DO UPDATE SET after_id = '', due_at = now(), passes = 2`,
    [team, service],
  );
}

function parse(body: unknown): TeamRules {
  const unstorable = jsonProblem(body);
  if (unstorable) throw invalidRules([{ ...unstorable, code: 'invalid' }]);
  const plain = isObject(body) ? Object.fromEntries(Object.entries(body).filter(([key]) => !READ_ONLY_KEYS.includes(key))) : body;
  const parsed = teamRulesSchema.safeParse(plain);
  if (!parsed.success) throw invalidRules(documentIssues(parsed.error));
  return parsed.data;
}

type RulesRow = { rules: TeamRules['rules']; generation: string; updated_by: string; updated_at: Date };
const toView = (row: RulesRow): TeamRulesView => ({
  rules: row.rules,
  generation: Number(row.generation),
  updatedBy: row.updated_by,
  updatedAt: row.updated_at.toISOString(),
});

async function rulesFind(database: Queryable, team: string): Promise<TeamRulesView> {
  const { rows } = await database.query<RulesRow>('SELECT rules, generation, updated_by, updated_at FROM team_notify WHERE team = $1', [
    team,
  ]);
  return rows[0] ? toView(rows[0]) : NONE;
}

/** Locks the rules of a team, also those that are not there yet. */
async function rulesLock(tx: Transaction, team: string): Promise<TeamRulesView> {
  await tx.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`almanac-team-notify-${team}`]);
  return rulesFind(tx, team);
}

async function rulesWrite(tx: Transaction, caller: Caller, { rules }: TeamRules): Promise<TeamRulesView> {
  const { rows } = await tx.query<RulesRow>(
    `INSERT INTO team_notify AS t (team, rules, updated_by) VALUES ($1, $2, $3)
     ON CONFLICT (team) DO UPDATE SET rules = excluded.rules, generation = t.generation + 1, updated_by = excluded.updated_by, updated_at = clock_timestamp()
     RETURNING rules, generation, updated_by, updated_at`,
    [caller.team, JSON.stringify(rules), caller.name],
  );
  return toView(rows[0]!);
}

function invalidRules(errors: FieldError[]): JobError {
  const first = errors[0];
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new JobError('invalid', 'invalid_rules', `The rules are not valid: ${first?.path || 'document'}: ${first?.message}${more}.`, {
    errors: errors.slice(0, 50),
  });
}

const hasChanged = (generation: number): JobError =>
  new JobError(
    'precondition',
    'generation_mismatch',
    `The rules have changed meanwhile, they are at generation ${generation}; read them again and repeat the change.`,
    { extra: { generation } },
  );
