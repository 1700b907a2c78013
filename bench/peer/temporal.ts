/** Becomes the Temporal server of `npm start`, with the same settings and a database file: the rig knows the processes that it has started by their group. */
import { join } from 'node:path';
import { findTemporal } from '../../src/embedded/temporal-binary.ts';
import { serverArguments } from '../../src/embedded/temporal-server.ts';

const { TEMPORAL_PORT, TEMPORAL_NAMESPACE, PEER_DATA } = process.env as Record<string, string>;
// The command has settings of its own under that prefix.
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TEMPORAL_')));
const command = await findTemporal({ environment, progress: console.log });
const databaseFile = join(PEER_DATA!, 'temporal.db');
process.execve!(
  command,
  [command, ...serverArguments({ port: Number(TEMPORAL_PORT), namespace: TEMPORAL_NAMESPACE!, databaseFile })],
  environment,
);
