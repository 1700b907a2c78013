/** `start`: from `npm start` to the first answered POST and a polling worker, with 1,000 stored jobs; after Ctrl-C, and after kill -9 of everything. */
import { readingsOf } from '../rounds.ts';
import { killInstance, type Started, startInstance, stopInstance } from '../stack/instance.ts';
import type { Row } from './row.ts';
import { STORED, storedInstance } from './stored-instance.ts';

const WITHIN_S = 10;
const MOST_ROUNDS = 3;

export const start: Row = async (context) => {
  const { home, ports, logFile } = await storedInstance(context);
  const after: Record<'stop' | 'kill', Started[]> = { stop: [], kill: [] };
  const rounds = Math.min(context.rounds, MOST_ROUNDS);
  for (let round = 0; round < rounds; round += 1) {
    const first = await startInstance(home, ports, logFile);
    after.stop.push(first);
    await killInstance(first);
    const second = await startInstance(home, ports, logFile);
    after.kill.push(second);
    await stopInstance(home, second);
    context.say(`after Ctrl-C ${seconds(first)} s, after kill -9 ${seconds(second)} s`);
  }
  const line = (what: string, all: Started[]) => ({ what, unit: 's', ours: readingsOf(all.map(bothS)), bound: { atMost: WITHIN_S } });
  return {
    lines: [line('ready after Ctrl-C', after.stop), line('ready after kill -9 of everything', after.kill)],
    facts: {
      jobs: STORED,
      rounds,
      'first POST s': readingsOf(after.stop.map(({ postS }) => postS)).median.toFixed(1),
      'worker polls s': readingsOf(after.stop.map(({ pollS }) => pollS)).median.toFixed(1),
    },
  };
};

const bothS = ({ postS, pollS }: Started): number => Math.max(postS, pollS);
const seconds = (started: Started): string => bothS(started).toFixed(1);
