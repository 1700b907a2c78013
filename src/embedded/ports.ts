/** Loopback ports: a free one, and a clear word when one is taken. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class PortInUseError extends Error {
  override name = 'PortInUseError';
}

/** A port that is free right now on 127.0.0.1. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address ? address.port : 0;
}

/** @throws PortInUseError naming the setting to change. Port 0 asks for any free one. */
export async function claimPort(port: number, setting: string, what: string, host = '127.0.0.1'): Promise<number> {
  if (port === 0) return await freePort();
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    const code = (error as { code?: string }).code;
    const why = code === 'EADDRINUSE' ? 'is in use' : `can't be opened (${code})`;
    throw new PortInUseError(`Port ${port} for ${what} ${why}. Stop what uses it, or choose another: ${setting}=${port + 1} npm start`);
  }
  server.close();
  await once(server, 'close');
  return port;
}

/** Settles true once something answers on the port, false after `withinMs` or when `signal` fires. */
export async function answers(port: number, withinMs: number, signal?: AbortSignal): Promise<boolean> {
  const until = Date.now() + withinMs;
  while (Date.now() < until && !signal?.aborted) {
    const socket = connect(port, '127.0.0.1');
    const open = await Promise.race([once(socket, 'connect').then(() => true), once(socket, 'error').then(() => false)]).catch(() => false);
    socket.destroy();
    if (open) return true;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  return false;
}
