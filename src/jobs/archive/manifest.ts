/** What an archive says of itself: beside its objects as `manifest.json`, so that it can be read without any database, and to people through the API. */
import type { Archive, ArchiveObject, Chunk } from './archive-store.ts';

export type ManifestObject = ArchiveObject & {
  team: string;
  /** The stretch of (job, time) that it covers. */
  first: { job: string; at: string };
  last: { job: string; at: string };
};

type TeamRows = { team: string; executions: number; attempts: number; ranges: number };

export type Manifest = {
  format: 'almanac-archive-1';
  id: string;
  month: string;
  until: string;
  schemaVersion: string;
  executions: number;
  attempts: number;
  ranges: number;
  bytes: number;
  teams: TeamRows[];
  objects: ManifestObject[];
};

/** RFC 3339; what has no such form (-infinity) as Postgres writes it. */
const time = (text: string): string => {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? text : at.toISOString();
};

/** @param chunks those that are to be told: all, or those of one team. */
export function manifestOf(archive: Pick<Archive, 'id' | 'month' | 'until'>, schemaVersion: string, chunks: readonly Chunk[]): Manifest {
  const teams = new Map<string, TeamRows>();
  for (const { team, executions, attempts, ranges } of chunks) {
    const sum = teams.get(team) ?? { team, executions: 0, attempts: 0, ranges: 0 };
    teams.set(team, { team, executions: sum.executions + executions, attempts: sum.attempts + attempts, ranges: sum.ranges + ranges });
  }
  const objects = chunks.flatMap((chunk) =>
    chunk.objects.map((object) => ({
      ...object,
      team: chunk.team,
      first: { job: chunk.firstJob, at: time(chunk.firstAt) },
      last: { job: chunk.lastJob, at: time(chunk.lastAt) },
    })),
  );
  const total = (of: (object: ManifestObject) => number) => objects.reduce((sum, object) => sum + of(object), 0);
  return {
    format: 'almanac-archive-1',
    id: archive.id,
    month: archive.month.toISOString(),
    until: archive.until.toISOString(),
    schemaVersion,
    executions: total(({ table, rows }) => (table === 'executions' ? rows : 0)),
    attempts: total(({ table, rows }) => (table === 'attempts' ? rows : 0)),
    ranges: total(({ table, rows }) => (table === 'ranges' ? rows : 0)),
    bytes: total(({ bytes }) => bytes),
    teams: [...teams.values()],
    objects,
  };
}
