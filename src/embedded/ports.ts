/** Ports: whether one is free, and finding one that stays free. */
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Free ports are taken from below the range that outgoing connections get theirs from (32768 and up), so that one that is free now
 * is still free when its server comes back after a crash.
 */
const LOWEST = 20_000;
const HIGHEST = 31_999;

/** Whether a server could listen there now. */
export async function isPortFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  const server = createServer();
  try {
    server.listen({ port, host, exclusive: true });
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

/** A port nobody listens on. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let tries = 0; tries < 200; tries += 1) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if (await isPortFree(port, host)) return port;
  }
  throw new Error(`no free port was found between ${LOWEST} and ${HIGHEST}`);
}
