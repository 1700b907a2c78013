/** What Postgres says in the end, read past everything of ours but the schema, and patient with a server that is being restarted. */
import { setTimeout as sleep } from 'node:timers/promises';
import { slotsBetween } from '../../src/jobs/time/oracle.ts';
import type { Timing } from '../../src/jobs/time/timing.ts';
import { isPostgresAway, type Pool } from '../../src/postgres.ts';

export type Row = {
  id: string;
  job_id: string;
  job_name: string;
  trigger: string;
  slot: Date | null;
  due_at: Date;
  status: string;
  waiting: boolean;
  reason: string | null;
  attempt: number;
  tries: number;
  max_attempts: number;
  run_id: string | null;
  created_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
  key: string | null;
  error: unknown;
  cancel_by: string | null;
};

export type Rows = ReturnType<typeof createRows>;

export function createRows(pool: Pool) {
  async function ask<T extends object>(text: string, values: unknown[] = []): Promise<T[]> {
    for (;;) {
      try {
        return (await pool.query<T>(text, values)).rows;
      } catch (error) {
        if (!isPostgresAway(error)) throw error;
        await sleep(100);
      }
    }
  }

  const COLUMNS = `id, job_id, job_name, trigger, slot, due_at, status, waiting, reason, attempt, tries, max_attempts, run_id, created_at, started_at, finished_at,
                   input->>'key' AS key, error, cancel_by`;
  return {
    ask,
    all: () => ask<Row>(`SELECT ${COLUMNS} FROM job_executions ORDER BY created_at, id`),
    /** Unfinished rows that were there, and due, by this time. */
    unfinished: (until: Date) =>
      ask<Row>(`SELECT ${COLUMNS} FROM job_executions WHERE status IN ('queued', 'running') AND created_at <= $1 AND due_at <= $1`, [
        until,
      ]),
    /** Executions between their admission and their end, not counting those that wait behind another. */
    async inFlight(): Promise<number> {
      const [row] = await ask<{ count: string }>(
        `SELECT count(*) FROM job_executions WHERE status IN ('queued', 'running') AND NOT waiting AND due_at <= now()`,
      );
      return Number(row!.count);
    },
    /** Slots up to this time, by the oracle and the memberships, that have neither a row nor a range that says why. */
    async slotsWithoutRow(until: Date): Promise<{ job: string; slot: Date }[]> {
      const members = await ask<{ job_id: string; valid_from: Date; valid_to: Date | null; timing: Timing }>(
        `SELECT m.job_id, date_trunc('milliseconds', m.valid_from + interval '999 microseconds') AS valid_from, nullif(m.valid_to, 'infinity') AS valid_to, t.timing FROM clock_members m JOIN timings t ON t.hash = m.timing_hash`,
      );
      const rows = await ask<{ job_id: string; slot: Date }>(`SELECT job_id, slot FROM job_executions WHERE trigger = 'schedule'`);
      const ranges = await ask<{ job_id: string; from_at: Date; to_at: Date | null }>('SELECT job_id, from_at, to_at FROM slot_ranges');
      const there = new Set(rows.map((row) => `${row.job_id} ${row.slot.getTime()}`));
      const missing: { job: string; slot: Date }[] = [];
      for (const { job_id: job, valid_from, valid_to, timing } of members) {
        const end = Math.min(until.getTime(), valid_to ? valid_to.getTime() - 1 : Number.POSITIVE_INFINITY);
        for (const slot of slotsBetween(timing, new Date(valid_from.getTime() - 1), new Date(end), 100_000)) {
          if (there.has(`${job} ${slot.getTime()}`)) continue;
          if (ranges.some((range) => range.job_id === job && range.from_at <= slot && (!range.to_at || slot < range.to_at))) continue;
          missing.push({ job, slot });
        }
      }
      return missing;
    },
  };
}
