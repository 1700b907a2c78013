/** Starts hand-written workflows, as Almanac's API starts its own: from another process than the worker's, in a closed loop or at a fixed rate. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';

export type HandwrittenStarts = {
  workflow: 'handwrittenPlain' | 'handwrittenWithRow';
  ids: string[];
  concurrency: number;
  ratePerS?: number;
};
/** When each was asked for, milliseconds since 1970, in the order of the ids. */
export type HandwrittenStarted = { sentAt: number[] };

const connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS! });
const client = new Client({ connection, namespace: process.env.TEMPORAL_NAMESPACE! });

async function run({ workflow, ids, concurrency, ratePerS }: HandwrittenStarts): Promise<HandwrittenStarted> {
  const sentAt: number[] = [];
  const start = async (index: number) => {
    const id = ids[index]!;
    sentAt[index] = performance.timeOrigin + performance.now();
    return await client.workflow.start(workflow, { workflowId: id, taskQueue: 'handwritten', args: [id] });
  };
  const startedAt = performance.now();
  let last = client.workflow.getHandle('none');
  if (ratePerS) {
    const under: Promise<unknown>[] = [];
    for (let index = 0; index < ids.length; index += 1) {
      const wait = startedAt + (index * 1_000) / ratePerS - performance.now();
      if (wait > 0) await sleep(wait);
      under.push(start(index));
    }
    await Promise.all(under);
  } else {
    let next = 0;
    const loop = async () => {
      while (next < ids.length) last = await start(next++);
    };
    await Promise.all(Array.from({ length: concurrency }, loop));
    await last.result();
  }
  return { sentAt };
}

process.on('message', (question: HandwrittenStarts) => {
  run(question).then(
    (result) => process.send?.({ result }),
    (error: Error) => process.send?.({ error: error.stack ?? String(error) }),
  );
});
process.once('disconnect', () => process.exit());
