/** What an archive says of itself: beside its objects as `manifest.json`, so that it can be read without any database, and to people through the API. */
import type { Archive, ArchiveObject, Chunk } from './archive-store.ts';

export type ManifestObject = ArchiveObject & {
  team: string;
  /** The stretch of (job, time) that it covers. */
  first: { job: string; at: string };
  last: { job: string; at: string };
};

export type Manifest = {
  format: 'almanac-archive-1';
  id: string;
  month: string;
  until: string;
  schemaVersion: string;
  executions: number;
  attempts: number;
  bytes: number;
  teams: { team: string; executions: number; attempts: number }[];
  objects: ManifestObject[];
};

const time = (text: string): string => new Date(text).toISOString();

/** @param chunks those that are to be told: all, or those of one team. */
export function manifestOf(archive: Pick<Archive, 'id' | 'month' | 'until'>, schemaVersion: string, chunks: readonly Chunk[]): Manifest {
  const teams = new Map<string, { team: string; executions: number; attempts: number }>();
  for (const { team, executions, attempts } of chunks) {
    const sum = teams.get(team) ?? { team, executions: 0, attempts: 0 };
    teams.set(team, { team, executions: sum.executions + executions, attempts: sum.attempts + attempts });
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
    bytes: total(({ bytes }) => bytes),
    teams: [...teams.values()],
    objects,
  };
}
