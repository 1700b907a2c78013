/** What must be true of slots that nobody served for a while, for one job of each catch-up policy with the default window. */
import assert from 'node:assert/strict';
import { until } from './almanac.ts';
import type { Body } from './client.ts';
import type { ReceivedCall } from './receiver.ts';

export const POLICIES = ['none', 'last', 'all'] as const;
/** A slot that starts later than this after it was due is late (semantics.md 13). */
const LATE_MS = 15_000;

export type Outage = {
  /** Rows of the slots of the policy's job, in their order. */
  slotsOf: (policy: string) => Promise<Body[]>;
  callsOf: (policy: string) => readonly ReceivedCall[];
  everyMs: number;
  /** When the last server had stopped, and when the first began to come back. Milliseconds since 1970. */
  stopped: number;
  back: number;
};

/** Waits until every slot has ended, some after the outage among them. */
export async function slotsThrough(outage: Outage, policy: string): Promise<Body[]> {
  const { everyMs, back } = outage;
  const settledUntil = Math.ceil(back / everyMs) * everyMs + 2 * everyMs;
  return await until(
    `every slot of ${policy} has ended`,
    async () => {
      const through = (await outage.slotsOf(policy)).filter(({ slot }) => Date.parse(slot) <= settledUntil);
      const whole = through.every((row, n) => n === 0 || Date.parse(row.slot) - Date.parse(through[n - 1].slot) === everyMs);
      return whole && Date.parse(through.at(-1)?.slot) === settledUntil && through.every((row) => row.finishedAt) ? through : undefined;
    },
    60_000,
  );
}

/** Checks all three; answers the ends of the late slots, for people to read. */
export async function catchUpHolds(outage: Outage): Promise<string> {
  const { stopped, back } = outage;
  const ends: Record<string, string[]> = {};
  for (const policy of POLICIES) {
    const rows = await slotsThrough(outage, policy);
    // late whoever looks, and when
    const late = rows.filter(({ slot }) => Date.parse(slot) > stopped && Date.parse(slot) < back - LATE_MS);
    ends[policy] = late.map((row) => row.reason ?? row.status);
    assert.ok(late.length >= 2, `${late.length} late slots`);
    const calls = outage.callsOf(policy).map(({ execution }) => execution);
    assert.equal(new Set(calls).size, calls.length, `${policy}: no slot is called twice`);
    const order = late.map(({ id }) => calls.indexOf(id)).filter((nth) => nth >= 0);
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
      'in slot order',
    );
    if (policy === 'last') assert.ok(rows.some(({ slot, status }) => status === 'succeeded' && Date.parse(slot) > stopped));
  }
  assert.deepEqual(new Set(ends.none), new Set(['missed']));
  assert.deepEqual(new Set(ends.last), new Set(['missed']), 'their successors were due already');
  assert.deepEqual(new Set(ends.all), new Set(['succeeded']));
  return POLICIES.map((policy) => `${policy} ${ends[policy]}`).join(' · ');
}
