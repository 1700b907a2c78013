/**
 * How a socket to a target is opened: the name is resolved once, every address is judged, and the socket goes to one of those that passed. There is
 * no second look-up that could answer differently (DNS rebinding); a literal is judged as it stands.
 */
import { lookup as osLookup } from 'node:dns/promises';
import { connect as connectSocket, isIP, type LookupFunction, type Socket } from 'node:net';
import ipaddr from 'ipaddr.js';
import { buildConnector } from 'undici';
import type { AddressRules } from './address-rules.ts';

export type ResolvedAddress = { address: string; family: number };
/** Resolves a host name to all its addresses, in the order to try them. */
export type ResolveHost = (hostname: string) => Promise<ResolvedAddress[]>;

/** The rules refuse every address of the host. */
export class AddressRefusedError extends Error {
  override name = 'AddressRefusedError';
  readonly code = 'ALMANAC_ADDRESS_REFUSED';
}

/**
 * Resolves as the operating system does (hosts file, search domains), one look-up per name at a time: `getaddrinfo` runs in a pool of four threads,
 * and a name whose server is silent must not take them all.
 */
export function createOsResolve(): ResolveHost {
  const underWay = new Map<string, Promise<ResolvedAddress[]>>();
  return (hostname) => {
    const same = underWay.get(hostname);
    if (same) return same;
    const answer = osLookup(hostname, { all: true }).finally(() => underWay.delete(hostname));
    underWay.set(hostname, answer);
    return answer;
  };
}

/**
 * The connector of the guarded dispatcher. `close` ends the sockets that are still being opened: undici would wait for each.
 * @param connectTimeoutMs for look-up, TCP and TLS together.
 * @param ca certificate authorities (PEM) instead of those of Node.
 */
export function createGuardedConnect(
  rules: AddressRules,
  { resolve, connectTimeoutMs, ca }: { resolve: ResolveHost; connectTimeoutMs: number; ca: string[] | undefined },
): { connect: buildConnector.connector; close: () => void } {
  // undici tells its look-up no port, and `deny` needs one: a connector per port.
  const connectors = new Map<number, buildConnector.connector>();
  const opening = new Set<Socket>();

  function connectorFor(port: number): buildConnector.connector {
    const known = connectors.get(port);
    if (known) return known;
    const made = buildConnector({
      lookup: guardedLookup(rules, resolve, port),
      timeout: connectTimeoutMs,
      allowH2: false,
      ...(ca ? { ca } : {}),
    });
    connectors.set(port, made);
    return made;
  }

  function open(port: number, options: buildConnector.Options, callback: buildConnector.Callback): void {
    // It returns the socket, which its type does not say.
    const socket = connectorFor(port)(options, (...result) => {
      opening.delete(socket);
      callback(...result);
    }) as unknown as Socket;
    opening.add(socket);
  }

  function connect(options: buildConnector.Options, callback: buildConnector.Callback): void {
    const port = Number(options.port || (options.protocol === 'https:' ? 443 : 80));
    const host = options.hostname.replace(/^\[|\]$/g, '');
    const literal = isIP(host) !== 0;
    const problem = literal ? rules.addressProblem(host, host, port) : rules.hostProblem(host, port);
    if (problem !== null) queueMicrotask(() => callback(new AddressRefusedError(problem), null));
    // The names among the denied pairs are looked up for a literal too; other names come by the look-up of the socket.
    else if (literal && rules.deniedNames(port).length > 0) {
      void deniedByName(rules, resolve, host, port).then((late) => {
        if (late === null) open(port, options, callback);
        else callback(new AddressRefusedError(late), null);
      });
    } else open(port, options, callback);
  }

  return {
    connect,
    close: () => {
      for (const socket of opening) socket.destroy(new Error('the worker stops'));
    },
  };
}

/**
 * A plain connection to a host that the rules allow, for what is not HTTP.
 * @throws AddressRefusedError, or what look-up and socket throw.
 */
export async function openGuardedSocket(
  rules: AddressRules,
  resolve: ResolveHost,
  { host, port, timeoutMs }: { host: string; port: number; timeoutMs: number },
): Promise<Socket> {
  const bare = host.replace(/^\[|\]$/g, '');
  const literal = isIP(bare) !== 0;
  const problem = literal
    ? (rules.addressProblem(bare, bare, port) ?? (await deniedByName(rules, resolve, bare, port)))
    : rules.hostProblem(bare, port);
  if (problem !== null) throw new AddressRefusedError(problem);
  return new Promise((done, fail) => {
    const socket = connectSocket({ host: bare, port, lookup: guardedLookup(rules, resolve, port) });
    const timer = setTimeout(() => socket.destroy(new Error(`no connection to ${bare}:${port} within ${timeoutMs} ms`)), timeoutMs);
    const onError = (error: Error) => {
      clearTimeout(timer);
      fail(error);
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', onError);
      done(socket);
    });
  });
}

function guardedLookup(rules: AddressRules, resolve: ResolveHost, port: number): LookupFunction {
  return (hostname, options, callback) => {
    approvedAddresses(rules, resolve, hostname, port, options.family).then(
      (approved) => (options.all ? callback(null, approved) : callback(null, approved[0]!.address, approved[0]!.family)),
      (error: NodeJS.ErrnoException) => callback(error, '', 0),
    );
  };
}

async function approvedAddresses(
  rules: AddressRules,
  resolve: ResolveHost,
  hostname: string,
  port: number,
  family: unknown,
): Promise<ResolvedAddress[]> {
  const wanted = family === 4 || family === 'IPv4' ? 4 : family === 6 || family === 'IPv6' ? 6 : 0;
  const all = (await resolve(hostname)).filter((each) => wanted === 0 || each.family === wanted);
  const judged = await Promise.all(
    all.map(async ({ address, family }) => ({
      address,
      family,
      problem: rules.addressProblem(address, hostname, port) ?? (await deniedByName(rules, resolve, address, port)),
    })),
  );
  const approved = judged.filter(({ problem }) => problem === null).map(({ address, family }) => ({ address, family }));
  if (approved.length > 0) return approved;
  if (judged[0]) throw new AddressRefusedError(judged[0].problem ?? 'refused');
  throw Object.assign(new Error(`${hostname} has no address`), { code: 'ENOTFOUND' });
}

/** `deny` may name a host (`postgres:5432`): then its addresses are denied too. A name that does not resolve denies nothing but itself. */
async function deniedByName(rules: AddressRules, resolve: ResolveHost, address: string, port: number): Promise<string | null> {
  for (const name of rules.deniedNames(port)) {
    const own = await resolve(name).catch(() => []);
    if (own.some((each) => plain(each.address) === plain(address)))
      return `${address} is ${name}:${port}, one of Almanac's own servers: it is never reached`;
  }
  return null;
}

/** One text per address: IPv4-mapped IPv6 as IPv4. */
const plain = (address: string) => ipaddr.process(address).toString();
