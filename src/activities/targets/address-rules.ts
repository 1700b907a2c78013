/**
 * Which addresses an http target may reach. Public ones only, plus what `allow` names (CIDRs, addresses, host names, `*.` suffixes), minus the
 * host:port pairs of `deny`, and never a link-local or metadata address: those hand out the credentials of the machine we run on.
 * Every form that carries an IPv4 address inside an IPv6 one is judged by both.
 */
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Block = [Address, number];

/** Never reached, whatever `allow` says. */
const NEVER: readonly (readonly [cidr: string, what: string])[] = [
  ['0.0.0.0/8', 'an unspecified address'],
  ['169.254.0.0/16', 'a link-local or metadata address'],
  ['100.100.100.200/32', 'a metadata address (Alibaba)'],
  ['168.63.129.16/32', 'a metadata address (Azure)'],
  ['192.0.0.192/32', 'a metadata address (Oracle)'],
  ['224.0.0.0/4', 'a multicast address'],
  ['255.255.255.255/32', 'the broadcast address'],
  ['::/128', 'an unspecified address'],
  ['fe80::/10', 'a link-local address'],
  ['fd00:ec2::/32', 'a metadata address (AWS)'],
  ['fd20:ce::/32', 'a metadata address (Google)'],
  ['ff00::/8', 'a multicast address'],
];
const NEVER_HOSTS = new Set(['metadata', 'metadata.google.internal', 'metadata.goog', 'instance-data', 'instance-data.ec2.internal']);

const never = NEVER.map(([cidr, what]) => ({ block: blockOf(cidr), what }));
const GLOBAL_IPV6 = blockOf('2000::/3');
const NAT64 = blockOf('64:ff9b::/96');
const SIX_TO_FOUR = blockOf('2002::/16');
const IPV4_COMPATIBLE = blockOf('::/96');
const IPV4_TRANSLATED = blockOf('::ffff:0:0:0/96');

/** Thrown for an entry of `allow` or `deny` that can't be read; the message quotes it. */
export class AddressRuleError extends Error {
  override name = 'AddressRuleError';
}

export type AddressRules = {
  /** Why this address may not be reached, or null. @param hostname the name that led to it, or the address itself. */
  addressProblem: (address: string, hostname: string, port: number) => string | null;
  /** Why this host name is never asked for, or null; literals are for `addressProblem`. */
  hostProblem: (hostname: string, port: number) => string | null;
  /** Names among the denied pairs of this port: what they resolve to is denied too. */
  deniedNames: (port: number) => readonly string[];
};

/**
 * Reads the two lists.
 * @param allow CIDRs, addresses, host names, `*.example.internal`.
 * @param deny `host:port` pairs; a loopback host stands for this machine under every address it has.
 * @throws AddressRuleError
 */
export function createAddressRules({ allow, deny }: { allow: readonly string[]; deny: readonly string[] }): AddressRules {
  const allowedBlocks = allow.filter(isBlock).map(blockOf);
  const allowedNames = allow.filter((entry) => !isBlock(entry)).map(allowedName);
  const denied = deny.map(deniedPair);

  const isAllowed = (address: Address, hostname: string) =>
    allowedNames.some((name) => (name.startsWith('*.') ? hostname.endsWith(name.slice(1)) : hostname === name)) ||
    carried(address).some((each) => allowedBlocks.some((block) => within(each, block)));

  const isDenied = (address: Address, port: number) =>
    denied.some((pair) => pair.port === port && pair.address !== null && carried(address).some((each) => sameMachine(each, pair.address)));

  return {
    addressProblem(text, hostname, port) {
      if (!ipaddr.isValid(text)) return `${text} is not an address`;
      const address = ipaddr.parse(text);
      const name = normalizedHost(hostname);
      const shown = name === normalizedHost(text) ? `${text}` : `${name} is ${text}, which`;
      const refused = carried(address).flatMap((each) => never.filter(({ block }) => within(each, block)))[0];
      if (refused) return `${shown} is ${refused.what}: it is never reached`;
      if (isDenied(address, port)) return `${shown} with port ${port} is one of Almanac's own servers: it is never reached`;
      if (isPublic(address) || isAllowed(address, name)) return null;
      return `${shown} is not a public address (${address.range()}); add it to ALMANAC_TARGET_ALLOW to permit it`;
    },
    hostProblem(hostname, port) {
      const name = normalizedHost(hostname);
      if (NEVER_HOSTS.has(name)) return `${name} is a metadata server: it is never reached`;
      if (denied.some((pair) => pair.port === port && pair.name === name))
        return `${name}:${port} is one of Almanac's own servers: it is never reached`;
      return null;
    },
    deniedNames: (port) => denied.flatMap((pair) => (pair.port === port && pair.address === null ? [pair.name] : [])),
  };
}

/**
 * Why a URL can't be a target, as far as its text tells: scheme, credentials, a literal address that the rules refuse. Host names are judged
 * by their addresses, at the call. Decimal, octal and hexadecimal hosts are literals too (WHATWG URL).
 */
export function literalAddressProblem(url: string, rules: AddressRules): string | null {
  if (!URL.canParse(url)) return `${JSON.stringify(url)} is not an absolute URL; write e.g. "https://example.com/path"`;
  const parsed = new URL(url);
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')
    return `${parsed.protocol.slice(0, -1)} is not supported; use http or https`;
  if (parsed.username !== '' || parsed.password !== '') return 'a URL may not carry a user name or password; use a header';
  const host = hostOf(parsed);
  const port = portOf(parsed);
  // the URL has been read by then: whatever was written, an address is in its plain form now
  return isIP(host) !== 0 ? rules.addressProblem(host, host, port) : rules.hostProblem(host, port);
}

/** The host without the brackets of IPv6. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '');
export const portOf = (url: URL): number => (url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port));
const normalizedHost = (host: string) =>
  host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');

/** The address and the IPv4 address it carries, if it does. */
function carried(address: Address): Address[] {
  if (address instanceof ipaddr.IPv4) return [address];
  if (address.isIPv4MappedAddress()) return [address.toIPv4Address()];
  const bytes = address.toByteArray();
  const inner = (from: number) => new ipaddr.IPv4(bytes.slice(from, from + 4));
  if (within(address, NAT64) || within(address, IPV4_TRANSLATED)) return [address, inner(12)];
  if (within(address, SIX_TO_FOUR)) return [address, inner(2)];
  // ::1 and :: lie in the same block but are themselves.
  if (within(address, IPV4_COMPATIBLE) && address.range() !== 'loopback' && address.range() !== 'unspecified') return [address, inner(12)];
  return [address];
}

/** Reachable by anybody on the internet. NAT64 is (its IPv4 part decides); 6to4, Teredo and what IANA has not given out are not. */
function isPublic(address: Address): boolean {
  const all = carried(address);
  const outer = all[0]!;
  if (outer instanceof ipaddr.IPv4) return outer.range() === 'unicast';
  if (within(outer, NAT64)) return all[1]!.range() === 'unicast';
  return within(outer, GLOBAL_IPV6) && outer.range() === 'unicast';
}

function sameMachine(address: Address, denied: Address | null): boolean {
  if (denied === null) return false;
  const local = denied.range() === 'loopback' || denied.range() === 'unspecified';
  return local ? address.range() === 'loopback' || isOwn(address) : String(address) === String(denied);
}

/** True for an address of one of this machine's interfaces; asked only for ports that are denied. */
function isOwn(address: Address): boolean {
  return Object.values(networkInterfaces()).some((each) => each?.some((own) => String(ipaddr.process(own.address)) === String(address)));
}

function within(address: Address, [network, bits]: Block): boolean {
  if (address instanceof ipaddr.IPv4) return network instanceof ipaddr.IPv4 && address.match(network, bits);
  return network instanceof ipaddr.IPv6 && address.match(network, bits);
}

/** Four parts only: `10.0.0` would otherwise pass for 10.0.0.0. */
function isBlock(entry: string): boolean {
  const [network = '', bits] = entry.split('/');
  if (!ipaddr.IPv4.isValidFourPartDecimal(network) && !ipaddr.IPv6.isValid(network)) return false;
  return bits === undefined || ipaddr.isValidCIDR(entry);
}

function blockOf(entry: string): Block {
  if (ipaddr.isValidCIDR(entry)) return ipaddr.parseCIDR(entry);
  const address = ipaddr.process(entry);
  return [address, address instanceof ipaddr.IPv4 ? 32 : 128];
}

function allowedName(entry: string): string {
  const name = normalizedHost(entry);
  if (!/^(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/.test(name) || /^[\d.]+$/.test(name)) {
    throw new AddressRuleError(
      `${JSON.stringify(entry)} is neither a CIDR, an address nor a host name; write e.g. 10.0.0.0/8 or billing.internal`,
    );
  }
  return name;
}

function deniedPair(entry: string): { name: string; address: Address | null; port: number } {
  const match = /^(.+):(\d{1,5})$/.exec(entry.trim());
  const name = normalizedHost(match?.[1] ?? '');
  const port = Number(match?.[2]);
  if (!match || name === '' || port < 1 || port > 65_535) {
    throw new AddressRuleError(`${JSON.stringify(entry)} is not a host:port pair; write e.g. 127.0.0.1:5432 or [::1]:5432`);
  }
  if (name === 'localhost') return { name, address: ipaddr.parse('127.0.0.1'), port };
  return { name, address: ipaddr.isValid(name) ? ipaddr.process(name) : null, port };
}
