/** The job that every peer runs: a line of evidence in $RUNLOG at its start and its end (O_APPEND, so that it survives a kill -9), and sleep between the two if asked for. */
import { openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { defineHandler } from 'almanac/handlers';
import type { PeerJob } from '../peer-job.ts';

const log = openSync(process.env.RUNLOG!, 'a');

/** When it was due, milliseconds since 1970: what Almanac says for a slot of a schedule, what was asked for otherwise. */
function dueOf({ kind, at_ms, sent_ms }: PeerJob, slot: string | null): number {
  if (kind === 'cron') return slot === null ? 0 : Date.parse(slot);
  return kind === 'at' ? at_ms : Math.round(sent_ms);
}

export const peerJob = defineHandler({
  name: 'peer-job',
  run: async ({ input, slot }) => {
    const job = input as PeerJob;
    const due = dueOf(job, slot);
    const line = (phase: 'S' | 'E') => writeSync(log, `${job.key},${phase},${due},${Date.now()},${process.pid}\n`);
    line('S');
    if (job.sleep_ms) await sleep(job.sleep_ms);
    line('E');
  },
});
