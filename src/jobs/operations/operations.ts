/** Use cases on operations: bulk operations are made here, backfills in backfills.ts; both are looked at, listed and aborted here. */
import { inTransaction, type Pool } from '../../postgres.ts';
import { auditInsert } from '../audit.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import { findJobOfExecutions } from '../execution-queries.ts';
import { claimIdempotencyKey, type IdempotencyContext } from '../idempotency.ts';
import { jobNotFound } from '../job-errors.ts';
import type { TriggerWishes } from '../trigger-wishes.ts';
import { executionsOfOperation, itemsFind, type OperationQuery, operationFind, operationsFind } from './operation-queries.ts';
import { BULK_ACTIONS, type BulkAction, MOST_ITEMS, type OperationKind, operationAbort, operationInsert } from './operation-store.ts';
import { type ItemView, itemView, type OperationView, operationView } from './operation-view.ts';
import { type Chosen, itemsSelect, type Selection, selectionCount } from './selection.ts';

export type BulkRequest = {
  action: BulkAction;
  selection: Selection;
  params: unknown;
  reason: string | null;
  ratePerMinute: number | null;
};
export type BulkPreview = { dryRun: true; action: BulkAction } & Chosen;

/** Which operations an address is about. */
export type OperationFamily = 'backfills' | 'bulk';
const KINDS: Record<OperationFamily, readonly OperationKind[]> = { backfills: ['backfill'], bulk: BULK_ACTIONS };

export type OperationsDeps = {
  pool: Pool;
  /** Checks what a trigger wants otherwise than its jobs say. @throws JobError `invalid` */
  wishesOf: (wishes: TriggerWishes) => TriggerWishes;
  /** Has an operation that is committed worked off; a hint: the controller sees to it within seconds. */
  begin: (team: string, id: string, kind: OperationKind) => void;
};
export type Operations = ReturnType<typeof createOperations>;

export function createOperations({ pool, begin, wishesOf }: OperationsDeps) {
  async function found(caller: Caller, family: OperationFamily, id: string) {
    const row = await operationFind(pool, caller.team, KINDS[family], id);
    if (!row) throw notFound(family, id);
    return row;
  }

  async function shown(caller: Caller, family: OperationFamily, id: string): Promise<OperationView> {
    const row = await found(caller, family, id);
    return operationView(row, await executionsOfOperation(pool, caller.team, id));
  }

  return {
    /** Starts working on what somebody else has written. */
    begin,

    /** What would be selected just now. */
    async preview(
      caller: Caller,
      { action, selection, params }: Pick<BulkRequest, 'action' | 'selection' | 'params'>,
    ): Promise<BulkPreview> {
      if (action === 'trigger') wishesOf(params as TriggerWishes);
      return { dryRun: true, action, ...(await selectionCount(pool, caller.team, selection, action)) };
    },

    /**
     * Writes an operation with all its items. What is selected is fixed now, whatever becomes of the filter's jobs meanwhile.
     * @throws JobError `refused` (409) when nothing is selected; `invalid` when it is too much.
     */
    async create(caller: Caller, request: BulkRequest, idempotency?: IdempotencyContext): Promise<OperationView> {
      const { action, selection, params, reason, ratePerMinute } = request;
      if (action === 'trigger') wishesOf(params as TriggerWishes);
      const view = await inTransaction(pool, async (tx) => {
        const { team, name: requestedBy, requestId } = caller;
        const asked = { [selection.of]: 'ids' in selection ? { ids: selection.ids.length } : { filter: selection.filter } };
        const operation = { team, kind: action, jobId: null, asked, params, reason, ratePerMinute, requestedBy, requestId };
        const id = await operationInsert(tx, operation, 0);
        const total = await itemsSelect(tx, team, id, selection, action);
        if (total === 0) throw nothingSelected(selection);
        if (total > MOST_ITEMS) throw tooManyItems(selection);
        await tx.query('UPDATE operations SET total = $3 WHERE id = $2 AND team = $1', [team, id, total]);
        const after = { kind: action, total, reason, ratePerMinute, selection: asked, options: params };
        await auditInsert(tx, caller, { action: 'operation.created', subjectKind: 'operation', subjectId: id, after });
        const made = operationView((await operationFind(tx, team, BULK_ACTIONS, id))!, {});
        await claimIdempotencyKey(tx, idempotency, made);
        return made;
      });
      begin(caller.team, view.id, action);
      return view;
    },

    get: shown,

    /** Newest first. @throws JobError `not_found` when `job` is neither id nor name of one. */
    async list(
      caller: Caller,
      family: OperationFamily,
      {
        job,
        ...query
      }: Omit<OperationQuery, 'kinds' | 'jobId'> & { kinds?: readonly OperationKind[] | undefined; job?: string | undefined },
    ) {
      const jobId = job === undefined ? undefined : (await findJobOfExecutions(pool, caller.team, job))?.id;
      if (job !== undefined && jobId === undefined) throw jobNotFound(job);
      const { rows, next } = await operationsFind(pool, caller.team, { ...query, jobId, kinds: query.kinds ?? KINDS[family] });
      return { items: rows.map((row) => operationView(row)), next };
    },

    /** Items in the order of work. @throws JobError `not_found` */
    async items(
      caller: Caller,
      family: OperationFamily,
      id: string,
      query: { result?: readonly string[] | undefined; after?: number | undefined; limit: number },
    ): Promise<{ items: ItemView[]; next: number | null }> {
      await found(caller, family, id);
      const { rows, next } = await itemsFind(pool, caller.team, id, query);
      return { items: rows.map(itemView), next };
    },

    /** Ends what has not had its turn. Executions that it has made go on. Aborting what has ended changes nothing. @throws JobError `not_found` */
    async abort(caller: Caller, family: OperationFamily, id: string): Promise<OperationView> {
      await found(caller, family, id);
      await inTransaction(pool, async (tx) => {
        if ((await operationAbort(tx, caller.team, id, caller.name)) !== true) return;
        const ended = await operationFind(tx, caller.team, KINDS[family], id);
        const after = { kind: ended?.kind, outcomes: ended?.outcomes };
        await auditInsert(tx, caller, { action: 'operation.aborted', subjectKind: 'operation', subjectId: id, after });
      });
      return await shown(caller, family, id);
    },
  };
}

const notFound = (family: OperationFamily, id: string): JobError =>
  new JobError(
    'not_found',
    family === 'backfills' ? 'backfill_not_found' : 'operation_not_found',
    `There is no ${family === 'backfills' ? 'backfill' : 'bulk operation'} ${JSON.stringify(id.slice(0, 100))}.`,
  );

const nothingSelected = ({ of }: Selection): JobError =>
  new JobError('refused', 'nothing_selected', `No ${of} match; look with "dryRun": true what does, and write another filter.`);

const tooManyItems = ({ of }: Selection): JobError =>
  new JobError(
    'invalid',
    'too_many_items',
    `More than ${MOST_ITEMS.toLocaleString('en')} ${of} match; write a narrower filter, and several operations if all are meant.`,
    { errors: [{ path: `/${of}/filter`, message: `matches more than ${MOST_ITEMS}; write a narrower one`, code: 'too_many_items' }] },
  );
