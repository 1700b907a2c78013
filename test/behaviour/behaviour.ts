/** Every fact about executions that holds however they are dispatched; the test files register them for each kind. */
import { after, before, suite } from 'node:test';
import { narrowFacts } from './narrow.ts';
import { outcomeFacts } from './outcomes.ts';
import { overlapFacts } from './overlaps.ts';
import { quietFacts } from './quiet.ts';
import { ruleFacts } from './rules.ts';
import { type Kind, openScene, type Scene } from './scene.ts';
import { slotFacts } from './slots.ts';
import { stopFacts } from './stops.ts';
import { targetFacts } from './targets.ts';

export function behaviour(kind: Kind): void {
  let opened: Scene;
  const scene = () => opened;
  before(async () => {
    opened = await openScene(kind);
  });
  after(() => opened?.close());

  suite(`${kind}: facts side by side`, { concurrency: 10 }, () => {
    slotFacts(scene);
    narrowFacts(scene);
    outcomeFacts(scene);
    overlapFacts(scene);
    ruleFacts(scene);
    stopFacts(scene);
    targetFacts(scene);
  });
  suite(`${kind}: afterwards`, () => quietFacts(scene));
}
