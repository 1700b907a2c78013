/**
 * `pooled`: the same short executions in three ways: sharing workflows, with a workflow each, and as workflows with an activity and a row that somebody has
 * written by hand. An execution of ours counts when its row is written, one by hand when its activity has ended.
 */
import type { Line } from '../report.ts';
import { alternate, ratios, readingsOf } from '../rounds.ts';
import { type Almanac, startAlmanac } from '../stack/almanac.ts';
import { openDueTogether } from './due-together.ts';
import { BURST, CONCURRENCY, REST_MS, rateOf, WARM_BURSTS } from './execute.ts';
import { startHandwritten } from './execute-handwritten.ts';
import { startTriggered } from './pooled-ours.ts';
import type { Row } from './row.ts';

/** So many that a burst takes long enough to be measured. */
const POOLED_BURST = 2_000;
const TOGETHER = 1_000;
const MOST_ROUNDS = 3;

export const pooled: Row = async ({ servers, folder, rounds, say }) => {
  const almanac = await startAlmanac(await servers(), 'pooled', folder, ['api', 'worker', 'controller']);
  const ours = await startTriggered(almanac);
  const theirs = await startHandwritten(almanac);
  const company = await openDueTogether(almanac);
  try {
    const sides = {
      pooled: () => ours.pooled(POOLED_BURST),
      inputs: () => ours.inputs(POOLED_BURST),
      dedicated: () => ours.dedicated(BURST),
      raw: async () => rateOf(await theirs.withRow(BURST)),
    };
    for (let burst = 0; burst < WARM_BURSTS; burst += 1) for (const run of Object.values(sides)) await run();
    say(`bursts of ${POOLED_BURST} pooled, ${BURST} dedicated and by hand`);
    const rates = await alternate(Math.min(rounds, MOST_ROUNDS), sides, REST_MS);
    const share = await ours.share();

    say(`${TOGETHER} pooled jobs due in one second`);
    const together = await company.run({ name: 'together', jobs: TOGETHER, dispatch: 'pooled' });
    const events = await eventsOf(almanac, together.workflows);

    const line = (what: string, side: 'pooled' | 'inputs', beside: 'dedicated' | 'raw', name: string): Line => ({
      what,
      unit: 'executions/s',
      ours: readingsOf(rates[side]),
      beside: { name, value: readingsOf(rates[beside]) },
      ratio: ratios(rates[side], rates[beside]),
    });
    const byHand = 'hand-written, with a row';
    return {
      lines: [
        line('triggers, one request each', 'pooled', 'dedicated', 'dedicated'),
        line('triggers, one request each', 'pooled', 'raw', byHand),
        line('triggers, all in one request', 'inputs', 'dedicated', 'dedicated'),
        line('triggers, all in one request', 'inputs', 'raw', byHand),
        { what: `${TOGETHER} due together`, unit: 'executions/s', ours: (TOGETHER / together.recordedMs) * 1_000 },
        { what: `${TOGETHER} due together`, unit: 'events per execution', ours: events / TOGETHER, bound: { atMost: 0.2 } },
        { what: 'rows succeeded in one attempt, as their job says', unit: '%', ours: share, bound: { atLeast: 100 } },
      ],
      facts: {
        'burst, pooled': POOLED_BURST,
        'burst, others': BURST,
        concurrency: CONCURRENCY,
        slots: theirs.slots,
        'workflows of those due together': together.workflows.length,
        'own rows': await theirs.rows(),
      },
    };
  } finally {
    await company.close();
    await theirs.close();
    await ours.close();
    await almanac.close();
  }
};

/** Events in the histories of these workflows. */
async function eventsOf({ client }: Almanac, workflows: readonly { workflowId: string; runId: string }[]): Promise<number> {
  let events = 0;
  for (const { workflowId, runId } of workflows) {
    const handle = client.workflow.getHandle(workflowId, runId);
    await handle.result();
    events += (await handle.fetchHistory()).events?.length ?? 0;
  }
  return events;
}
