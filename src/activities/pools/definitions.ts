/** What pooled calls need to know of their jobs, read once per generation and worker: thousands of slots share it. */
import { type ExecutionPlan, planOf } from '../../jobs/execution-plan.ts';
import { jobIdOf } from '../../jobs/ids.ts';
import type { JobDocument } from '../../jobs/job-document.ts';
import { type BegunCall, definitionsOf, servicesByName } from '../../jobs/pools/pool-store.ts';
import type { Pool } from '../../postgres.ts';
import { withPatience } from '../patience.ts';

/** Definitions kept; the longest unused go first. */
const REMEMBERED = 20_000;

export type Definition = {
  jobId: string;
  document: JobDocument;
  plan: ExecutionPlan;
  /** The line in which its calls wait: its service, host or handler. */
  line: string;
  /** The registered service it names. */
  service: string | null;
};
export type Services = Map<string, { baseUrl: string; headers: Record<string, string> }>;
export type Definitions = ReturnType<typeof createDefinitions>;

export function createDefinitions({ pool }: { pool: Pool }) {
  const known = new Map<string, Definition>();
  const keyOf = (row: BegunCall): string => `${row.id.slice(0, 40)} ${row.generation}`;

  async function load(rows: readonly BegunCall[]): Promise<void> {
    const unknown = new Map(rows.filter((row) => !known.has(keyOf(row))).map((row) => [keyOf(row), row]));
    if (unknown.size === 0) return;
    const wanted = [...unknown.values()].map((row) => ({ jobId: jobIdOf(row.id)!, generation: row.generation }));
    for (const found of await withPatience(() => definitionsOf<JobDocument>(pool, wanted))) {
      known.set(`${found.job_id} ${found.generation}`, definitionOf(found.job_id, found.document));
    }
    for (const key of known.keys()) {
      if (known.size <= REMEMBERED) break;
      known.delete(key);
    }
  }

  return {
    /** The definitions of these rows, and the services they name as they are registered now. A row without a definition (its job is purged) is left out. */
    async of(team: string, rows: readonly BegunCall[]): Promise<{ of: Map<BegunCall, Definition>; services: Services }> {
      await load(rows);
      const of = new Map<BegunCall, Definition>();
      const names = new Set<string>();
      for (const row of rows) {
        const definition = known.get(keyOf(row));
        if (!definition) continue;
        of.set(row, definition);
        if (definition.service !== null) names.add(definition.service);
      }
      return { of, services: names.size === 0 ? new Map() : await withPatience(() => servicesByName(pool, team, [...names])) };
    },
  };
}

function definitionOf(jobId: string, document: JobDocument): Definition {
  const { target } = document;
  const service = target.type === 'http' ? (target.service ?? null) : null;
  return { jobId, document, plan: planOf(document), line: lineOf(target), service };
}

function lineOf(target: JobDocument['target']): string {
  if (target.type === 'handler') return `handler ${target.name}`;
  return target.service === undefined ? `host ${URL.parse(target.url ?? '')?.host ?? ''}` : `service ${target.service}`;
}
