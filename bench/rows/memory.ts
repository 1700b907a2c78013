/** `memory`: what the whole tree of `npm start` takes (PSS), 60 s after it is ready, with 1,000 stored jobs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { startInstance, stopInstance } from '../stack/instance.ts';
import { nameOf, pssOf, treeOf } from '../stack/process-tree.ts';
import type { Row } from './row.ts';
import { STORED, storedInstance } from './stored-instance.ts';

const AFTER_READY_MS = 60_000;
const WITHIN_MIB = 900;
const SHOWN = 8;

export const memory: Row = async (context) => {
  const { home, ports, logFile } = await storedInstance(context);
  const started = await startInstance(home, ports, logFile);
  context.say(`waiting ${AFTER_READY_MS / 1_000} s`);
  await sleep(AFTER_READY_MS);
  const processes = treeOf(started.npm.child.pid!)
    .map((pid) => ({ name: nameOf(pid), mib: pssOf(pid) }))
    .sort((a, b) => b.mib - a.mib);
  await stopInstance(home, started);
  const total = processes.reduce((sum, { mib }) => sum + mib, 0);
  return {
    lines: [{ what: `whole tree, ${AFTER_READY_MS / 1_000} s after ready`, unit: 'MiB PSS', ours: total, bound: { atMost: WITHIN_MIB } }],
    facts: {
      jobs: STORED,
      processes: processes.length,
      largest: processes
        .slice(0, SHOWN)
        .map(({ name, mib }) => `${name}: ${Math.round(mib)}`)
        .join(' | '),
    },
  };
};
