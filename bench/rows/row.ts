/** What a row of the bench is given, and what it gives back. */
import type { Line, RowResult } from '../report.ts';
import type { Servers } from '../stack/servers.ts';

export type RowContext = {
  /** Opens the two servers, fresh for this row when they are the bench's own. A row that starts a whole instance needs none. */
  servers: () => Promise<Servers>;
  folder: string;
  rounds: number;
  say: (text: string) => void;
};
export type Row = (context: RowContext) => Promise<{ lines: Line[]; facts: RowResult['facts'] }>;

/** @throws when any answer had another status: a figure of refused requests is none. */
export function onlyStatus(what: string, statuses: Record<string, number>, wanted: number, bodies: readonly string[]): void {
  const others = Object.keys(statuses).filter((status) => status !== String(wanted));
  if (others.length > 0)
    throw new Error(
      `${what}: statuses ${JSON.stringify(statuses)}; one answer: ${bodies.find((body) => body.includes('"status"'))?.slice(0, 500)}`,
    );
}
