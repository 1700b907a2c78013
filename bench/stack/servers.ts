/** The two servers the bench stands on: given ones, or its own in a temporary folder. */
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { type OwnServers, startOwnServers } from './own-servers.ts';
import { until } from './processes.ts';

export type Servers = {
  /** Of a database that exists; databases of the bench's own are made beside it. */
  adminUrl: string;
  temporalAddress: string;
  postgresVersion: string;
  temporalVersion: string;
  given: boolean;
  /** Of own servers. */
  pids: { postgres?: number; temporal?: number };
  /** A fresh database and a fresh namespace, for this row alone. */
  place: (name: string) => Promise<Place>;
  close: () => Promise<void>;
};
export type Place = { databaseUrl: string; namespace: string };

/** @param folder for data and logs of own servers. */
export async function openServers(folder: string): Promise<Servers> {
  const { DATABASE_URL: database, TEMPORAL_ADDRESS: temporal } = process.env;
  const own: OwnServers = await startOwnServers(folder, { postgres: !database, temporal: !temporal });
  const adminUrl = database || own.databaseUrl!;
  const temporalAddress = temporal || own.temporalAddress!;
  const admin = new pg.Pool({ connectionString: adminUrl, max: 1 });
  admin.on('error', () => {});
  const connection = await Connection.connect({ address: temporalAddress, connectTimeout: 30_000 });
  const client = new Client({ connection });
  const made: { databases: string[]; namespaces: string[] } = { databases: [], namespaces: [] };
  const tag = `${Date.now().toString(36)}`;

  const { rows } = await admin.query<{ version: string }>(`SELECT current_setting('server_version') AS version`);
  const { serverVersion } = await client.workflowService.getSystemInfo({});

  async function place(name: string): Promise<Place> {
    const database = `almanac_bench_${name.replaceAll('-', '_')}_${tag}`;
    await admin.query(`CREATE DATABASE ${database}`);
    made.databases.push(database);
    const namespace = `almanac-bench-${name}-${tag}`;
    await client.workflowService.registerNamespace({
      namespace,
      workflowExecutionRetentionPeriod: { seconds: 86_400 as unknown as never },
    });
    made.namespaces.push(namespace);
    // The server's own caches learn of a new namespace a few seconds later.
    const probe = new Client({ connection, namespace });
    await until(`namespace ${namespace}`, 60_000, async () => {
      await probe.workflowService.listOpenWorkflowExecutions({ namespace, maximumPageSize: 1 });
      await probe.workflowService.describeTaskQueue({ namespace, taskQueue: { name: 'probe' }, taskQueueType: 1 });
      return true;
    });
    const url = new URL(adminUrl);
    url.pathname = `/${database}`;
    return { databaseUrl: url.href, namespace };
  }

  async function close(): Promise<void> {
    if (temporal)
      for (const namespace of made.namespaces) await client.connection.operatorService.deleteNamespace({ namespace }).catch(() => {});
    if (database) for (const name of made.databases) await admin.query(`DROP DATABASE ${name} WITH (FORCE)`).catch(() => {});
    await connection.close();
    await admin.end();
    await own.close();
  }

  return {
    adminUrl,
    temporalAddress,
    postgresVersion: rows[0]!.version,
    temporalVersion: serverVersion,
    given: Boolean(database || temporal),
    pids: own.pids,
    place,
    close,
  };
}
