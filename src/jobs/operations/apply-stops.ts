/** Items that cancel or terminate an execution. The rows decide; Temporal is told so that its own view agrees. */
import type { Transaction } from '../../postgres.ts';
import type { ExecutionStart } from '../execution-store.ts';
import { partitionAtOf } from '../ids.ts';
import type { Applied, Apply } from './operation-runner.ts';
import type { ItemOutcome, OperationItem, OperationRow } from './operation-store.ts';

/** A workflow of one execution alone that has nothing left to do. */
export type StoppedWorkflow = { workflowId: string; runId: string };
type Stopped = {
  position: number;
  /** Null: there is no such execution. */
  verdict: 'stopped' | 'ended' | null;
  status: string | null;
  workflow_id: string | null;
  run_id: string | null;
  dispatch: string;
  released: ExecutionStart | null;
};

export type StopDeps = {
  /** Starts what waited for one that has ended. */
  startSoon: (row: ExecutionStart | null) => void;
  /** Best effort: the controller ends what goes on. */
  tellTemporal: (wish: 'cancel' | 'terminate', workflow: StoppedWorkflow) => void;
};

export function createApplyStops({ startSoon, tellTemporal }: StopDeps): { applyCancel: Apply; applyTerminate: Apply } {
  const applyStop =
    (wish: 'cancel' | 'terminate'): Apply =>
    async (tx, operation, items): Promise<Applied> => {
      // by job, as everywhere: the functions lock the job of each
      const inOrder = items.toSorted((a, b) => (a.job_id < b.job_id ? -1 : a.job_id > b.job_id ? 1 : a.position - b.position));
      const stopped = await (wish === 'cancel' ? cancelAll : terminateAll)(tx, operation, inOrder);
      await auditStops(
        tx,
        operation,
        wish,
        items.filter((item) => stopped.some(({ position, verdict }) => position === item.position && verdict === 'stopped')),
      );
      const known = new Map(stopped.map((one) => [one.position, one]));
      return {
        outcomes: items.map((item) => outcomeOf(item, known.get(item.position))),
        after: () => {
          for (const { verdict, released, dispatch, workflow_id: workflowId, run_id: runId } of stopped) {
            startSoon(released);
            if (verdict === 'stopped' && dispatch === 'dedicated' && workflowId && runId) tellTemporal(wish, { workflowId, runId });
          }
        },
      };
    };
  return { applyCancel: applyStop('cancel'), applyTerminate: applyStop('terminate') };
}

function outcomeOf({ position }: OperationItem, stopped: Stopped | undefined): ItemOutcome {
  if (stopped?.verdict === 'stopped') return { position, result: 'succeeded' };
  if (stopped?.verdict === 'ended') return { position, result: 'unchanged', message: `it has ended already: ${stopped.status}` };
  return { position, result: 'refused', code: 'not_found', message: 'the execution is not there any more' };
}

const keysOf = (items: readonly OperationItem[]) => [
  items.map((item) => item.position),
  items.map((item) => partitionAtOf(item.execution_id!) ?? new Date(0)),
  items.map((item) => item.execution_id!),
];
const ITEMS = `unnest($2::integer[], $3::timestamptz[], $4::text[]) WITH ORDINALITY AS k (position, at, id, nth)
             JOIN LATERAL (SELECT e.dispatch FROM job_executions e WHERE e.partition_at = k.at AND e.id = k.id AND e.team = $1 LIMIT 1) e ON true`;

async function cancelAll(tx: Transaction, operation: OperationRow, items: readonly OperationItem[]): Promise<Stopped[]> {
  const { rows } = await tx.query<Stopped>({
    name: 'operation-cancel',
    text: `WITH asked AS MATERIALIZED (SELECT k.position, k.at, k.id, k.nth, e.dispatch FROM ${ITEMS} ORDER BY k.nth)
           SELECT a.position, CASE c.verdict WHEN 'not_found' THEN NULL WHEN 'finished' THEN 'ended' ELSE 'stopped' END AS verdict,
                  (SELECT e.status FROM job_executions e WHERE e.partition_at = a.at AND e.id = a.id) AS status, c.workflow_id, c.run_id, a.dispatch, c.released
             FROM asked a, LATERAL cancel_execution($1, a.at, a.id, $5) c`,
    values: [operation.team, ...keysOf(items), operation.requested_by],
  });
  return rows;
}

async function terminateAll(tx: Transaction, operation: OperationRow, items: readonly OperationItem[]): Promise<Stopped[]> {
  const { rows } = await tx.query<Stopped>({
    name: 'operation-terminate',
    text: `WITH asked AS MATERIALIZED (SELECT k.position, k.at, k.id, k.nth, e.dispatch FROM ${ITEMS} ORDER BY k.nth)
           SELECT a.position, CASE WHEN c.applied THEN 'stopped' ELSE 'ended' END AS verdict, c.status, c.workflow_id, c.run_id, a.dispatch, c.released
             FROM asked a, LATERAL close_execution($1, a.at, a.id, 'terminated', NULL, NULL, $5) c`,
    values: [operation.team, ...keysOf(items), operation.requested_by],
  });
  return rows;
}

async function auditStops(tx: Transaction, operation: OperationRow, wish: string, items: readonly OperationItem[]): Promise<void> {
  if (items.length === 0) return;
  await tx.query({
    name: 'operation-stops-audit',
    text: `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after, request_id)
           SELECT $1, $2, $3, 'job', s.job_id, json_build_object('execution', s.id, 'operation', $4::text), $5
             FROM unnest($6::text[], $7::text[]) AS s (job_id, id)`,
    values: [
      operation.team,
      operation.requested_by,
      wish === 'cancel' ? 'execution.cancelled' : 'execution.terminated',
      operation.id,
      operation.request_id ?? operation.id,
      items.map((item) => item.job_id),
      items.map((item) => item.execution_id!),
    ],
  });
}
