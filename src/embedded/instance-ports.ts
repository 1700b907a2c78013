/** The ports of an instance: the ones asked for, when nobody has them, else free ones. */
import type { Config } from '../config.ts';
import { freePort, isPortFree } from './ports.ts';

/** Thrown when somebody else listens on a port; the message names the setting that changes it. */
export class PortInUseError extends Error {
  override name = 'PortInUseError';
}

export type InstancePorts = { api: number; temporal: number; temporalUi: number; postgres: number; worker: number; controller: number };

/** @throws PortInUseError naming every port that is taken. */
export async function instancePorts(config: Config): Promise<InstancePorts> {
  const taken: string[] = [];
  const claim = async (setting: keyof Config, what: string, host = '127.0.0.1'): Promise<number> => {
    const port = config[setting] as number;
    if (port === 0) return await freePort(host);
    if (!(await isPortFree(port, host)))
      taken.push(`Port ${port} (${what}) is in use: set ${setting} to another one, or to 0 for any free one.`);
    return port;
  };
  const ports = {
    api: await claim('PORT', 'the API', config.HOST),
    temporal: config.TEMPORAL_ADDRESS ? 0 : await claim('ALMANAC_TEMPORAL_PORT', 'Temporal'),
    temporalUi: config.TEMPORAL_ADDRESS ? 0 : await claim('ALMANAC_TEMPORAL_UI_PORT', 'the Temporal Web UI'),
    postgres: config.DATABASE_URL ? 0 : await claim('ALMANAC_POSTGRES_PORT', 'Postgres'),
    worker: await claim('METRICS_PORT', 'metrics of the worker', config.HOST),
    controller: await freePort(config.HOST),
  };
  if (taken.length > 0) throw new PortInUseError(taken.join('\n'));
  return ports;
}
