/** When groups of triggers are started: the rules alone, without Postgres and Temporal. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ExecutionStart } from '../../src/jobs/execution-store.ts';
import { createTriggerPools, type TriggerOffer } from '../../src/jobs/trigger-pools.ts';
import type { AdmittedTrigger, TriggerQuestion } from '../../src/jobs/trigger-store.ts';
import { until } from '../support/almanac.ts';

/** Groups that write down what is started and moved. Without `move` all rows can be moved. */
function groups({ move }: { move?: () => Promise<number> } = {}) {
  const calls: string[] = [];
  const underway = new Set<Promise<unknown>>();
  const pools = createTriggerPools(
    {
      start: async (row) => {
        calls.push(`start ${row.workflowId}`);
        return 'started';
      },
      startSoon: (row) => void calls.push(`own ${row?.id}`),
      startPoolAgain: (row) => void calls.push(`again ${row.workflowId}`),
      behind: (work) => {
        const tracked = work.finally(() => underway.delete(tracked));
        underway.add(tracked);
        return tracked;
      },
    },
    async (rows: readonly ExecutionStart[], from, to) => {
      const count = (await move?.()) ?? rows.length;
      calls.push(`move ${count} from ${from} to ${to}`);
      return count;
    },
  );
  const question = { team: 'default', id: 'one', partitionAt: new Date() } as TriggerQuestion;
  const admitted = (id: string) => ({ verdict: 'run', ended: null, pool: id, queue: 'default', due_at: new Date() }) as AdmittedTrigger;
  /** What a statement has committed: `count` rows of a pool. */
  const commit = (offered: TriggerOffer, id: string, count: number) =>
    pools.giveBack(offered, Array<TriggerQuestion>(count).fill(question), Array<AdmittedTrigger>(count).fill(admitted(id)));
  return { pools, calls, commit, underway, offer: () => pools.offer('default') };
}

/** A second group that was started without the rows of a slow statement, which are still to come. */
async function startedWithoutSlow(it: ReturnType<typeof groups>): Promise<{ slow: TriggerOffer; id: string }> {
  it.commit(it.offer(), 'first', 8);
  assert.deepEqual(it.calls, ['start first'], 'at once');
  const [quick, slow] = [it.offer(), it.offer()];
  const id = quick.open.default!;
  assert.equal(slow.open.default, id);
  it.commit(quick, id, 3);
  await until('patience with the slow one is over', () => it.calls.length === 2);
  assert.equal(it.calls[1], `start ${id}`);
  return { slow, id };
}

test('rows of a slow statement that come after their group was started have a pool of their own', async () => {
  const it = groups();
  const { slow, id } = await startedWithoutSlow(it);
  it.commit(slow, id, 2);
  await until('both are said', () => it.calls.length === 4);
  const fresh = /^move 2 from \S+ to (?<fresh>group-default-\S+)$/.exec(it.calls[2]!)?.groups?.fresh;
  assert.notEqual(fresh, id);
  assert.equal(it.calls[3], `start ${fresh}`);
});

test('late rows that their group has begun all the same need no other one', async () => {
  const it = groups({ move: async () => 0 });
  const { slow, id } = await startedWithoutSlow(it);
  it.commit(slow, id, 2);
  await until('nothing is under way', () => it.underway.size === 0);
  assert.match(it.calls[2]!, /^move 0 /);
  assert.equal(it.calls.length, 3);
});

test('late rows that could not be moved have their group started again', async () => {
  const it = groups({ move: () => Promise.reject(new Error('deadlock detected')) });
  const { slow, id } = await startedWithoutSlow(it);
  it.commit(slow, id, 2);
  await until('nothing is under way', () => it.underway.size === 0);
  assert.deepEqual(it.calls.slice(2), [`again ${id}`]);
});

test('a group that was opened when no pause was left is started also when another one was started before its rows came', async () => {
  const it = groups();
  it.commit(it.offer(), 'first', 50);
  const began = performance.now();
  await until('the pause is over', () => performance.now() - began > 60);
  const [mine, other] = [it.offer(), { team: 'default', open: {}, fresh: 'other', groups: [] }];
  if (performance.now() - began > 200) return; // a machine so slow proves nothing here: the queue is warm no more
  const id = mine.open.default!;
  assert.ok(id, 'a warm queue opens a group');
  it.commit(other, 'other', 5);
  assert.deepEqual(it.calls, ['start first', 'start other']);
  it.commit(mine, id, 2);
  await until('it is started', () => it.calls.includes(`start ${id}`), 1_000);
  await until('nothing is under way', () => it.underway.size === 0, 1_000);
});

test('a group is open as long as a statement may add to it, and is forgotten when none has', async () => {
  const it = groups();
  it.commit(it.offer(), 'first', 50);
  const [one, two] = [it.offer(), it.offer()];
  const id = one.open.default!;
  it.pools.giveBack(one);
  const began = performance.now();
  await until('many a look later', () => performance.now() - began > 90);
  const three = it.offer();
  assert.deepEqual([two.open.default, three.open.default], [id, id]);
  it.pools.giveBack(two);
  it.pools.giveBack(three);
  await until('another group', () => {
    const offered = it.offer();
    it.pools.giveBack(offered);
    return offered.open.default !== id;
  });
  assert.deepEqual(it.calls, ['start first']);
});

test('the end of a burst is started when nobody adds to it any more, long before the pause is over; a few rows wait for that', async () => {
  const startedAfter = async (count: number): Promise<number> => {
    const it = groups();
    it.commit(it.offer(), 'first', 100);
    const began = performance.now();
    const offered = it.offer();
    it.commit(offered, offered.open.default!, count);
    await new Promise<void>((resolve) => {
      const look = () => (it.calls.length === 2 ? resolve() : setImmediate(look));
      look();
    });
    return performance.now() - began;
  };
  const [burst, few] = await Promise.all([startedAfter(16), startedAfter(15)]);
  assert.ok(few >= 95, `few rows after ${few} ms`);
  assert.ok(burst < few - 40, `a burst after ${burst} ms`);
});
