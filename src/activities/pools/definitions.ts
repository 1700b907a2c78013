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

export function createDefinitions({ pool, remembered = REMEMBERED }: { pool: Pool; remembered?: number }) {
  const known = new Map<string, Definition>();
  const keyOf = (row: BegunCall): string => `${row.id.slice(0, 40)} ${row.generation}`;

  function remember(key: string, definition: Definition): void {
    known.delete(key);
    known.set(key, definition);
    if (known.size > remembered) known.delete(known.keys().next().value!);
  }

  /** What the rows need is held here, whatever is forgotten meanwhile. */
  async function definitionsFor(rows: readonly BegunCall[]): Promise<Map<string, Definition>> {
    const needed = new Map<string, Definition>();
    const unknown = new Map<string, { jobId: string; generation: string }>();
    for (const row of rows) {
      const key = keyOf(row);
      const definition = known.get(key);
      if (definition) needed.set(key, definition);
      else unknown.set(key, { jobId: jobIdOf(row.id)!, generation: row.generation });
    }
    if (unknown.size > 0) {
      for (const found of await withPatience(() => definitionsOf<JobDocument>(pool, [...unknown.values()]))) {
        needed.set(`${found.job_id} ${found.generation}`, definitionOf(found.job_id, found.document));
      }
    }
    for (const [key, definition] of needed) remember(key, definition);
    return needed;
  }

  return {
    /** The definitions of these rows, and the services they name as they are registered now. A row without a definition (its job is purged) is left out. */
    async of(team: string, rows: readonly BegunCall[]): Promise<{ of: Map<BegunCall, Definition>; services: Services }> {
      const needed = await definitionsFor(rows);
      const of = new Map<BegunCall, Definition>();
      const names = new Set<string>();
      for (const row of rows) {
        const definition = needed.get(keyOf(row));
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
