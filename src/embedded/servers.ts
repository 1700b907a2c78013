/** Postgres and Temporal of an instance, each kept running; or the address of one that somebody else runs. */
import type { Config } from '../config.ts';
import type { Home } from './home.ts';
import type { ChildName, Instance } from './instance.ts';
import type { InstancePorts } from './instance-ports.ts';
import { type Kept, keepRunning } from './keep-running.ts';
import { postgresUrl, startPostgres } from './postgres.ts';
import type { Running } from './server-process.ts';
import { findTemporal } from './temporal-binary.ts';
import { startTemporal } from './temporal-server.ts';
import type { Terminal } from './terminal.ts';

export type ServerOptions = {
  config: Config;
  home: Home;
  instance: Instance;
  ports: InstancePorts;
  environment: NodeJS.ProcessEnv;
  terminal: Terminal;
  signal: AbortSignal;
};
/** `kept` is null for a server that is not ours. */
export type Server = { address: string; kept: Kept | null };

/** Address is the database's URL. */
export async function postgresServer(options: ServerOptions): Promise<Server> {
  const { config, home, ports, environment } = options;
  if (config.DATABASE_URL) return { address: config.DATABASE_URL, kept: null };
  const start = (signal: AbortSignal) =>
    startPostgres({
      folder: home.folder,
      port: ports.postgres,
      logFile: home.logFile('postgres'),
      environment,
      durable: true,
      signal,
      ...noting('postgres', options),
    });
  return { address: postgresUrl(home.folder, ports.postgres), kept: await keep('Postgres', options, start) };
}

/** Address is host:port of the frontend. */
export async function temporalServer(options: ServerOptions): Promise<Server> {
  const { config, home, ports, environment, terminal } = options;
  if (config.TEMPORAL_ADDRESS) return { address: config.TEMPORAL_ADDRESS, kept: null };
  const command = await findTemporal({ environment, progress: terminal.info, signal: options.signal });
  const start = (signal: AbortSignal) =>
    startTemporal({
      command,
      port: ports.temporal,
      uiPort: ports.temporalUi,
      databaseFile: home.temporalDatabase,
      namespace: config.TEMPORAL_NAMESPACE,
      folder: home.folder,
      logFile: home.logFile('temporal'),
      environment,
      signal,
      ...noting('temporal', options),
    });
  return { address: `127.0.0.1:${ports.temporal}`, kept: await keep('Temporal', options, start) };
}

const keep = (name: string, { terminal, signal }: ServerOptions, start: (signal: AbortSignal) => Promise<Running>): Promise<Kept> =>
  keepRunning({ name, start, say: terminal, signal });

const noting = (name: ChildName, { instance }: ServerOptions) => ({
  onStart: (identity: Running['identity']) => instance.note(name, identity),
});
