import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac } from '../support/almanac.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { POLICIES, triggerStorm } from './trigger-storm.ts';

let receiver: Receiver;
let almanac: Almanac;
before(async () => {
  receiver = await startReceiver();
  almanac = await startAlmanac({ apis: 2, workers: 2, controllers: 1 });
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

for (const policy of POLICIES) {
  test(`80 triggers of one job at once over two API processes, ${policy}: all accepted, each with a row, one call for each that runs`, async (t) => {
    const storm = await triggerStorm(almanac, receiver, policy, 80);
    assert.ok(storm.acceptedMs < 15_000);
    t.diagnostic(JSON.stringify(storm));
  });
}
