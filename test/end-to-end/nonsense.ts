/** Nonsense of every kind, and documents with one place of nonsense each; the same seed gives the same ones. */

/** Deep, but small: 3,000 levels. */
const deep = JSON.parse(`${'['.repeat(3_000)}1${']'.repeat(3_000)}`) as unknown;

/** Values that a careless program, or a hostile one, puts where something else belongs. */
export const NONSENSE: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e308,
  -1e-320,
  2 ** 53 + 2,
  2_147_483_648,
  '',
  ' ',
  'x',
  '\u0000',
  'a\u0000b',
  '\ud800',
  'x\udfff',
  '__proto__',
  'constructor',
  'toString',
  "'; DROP TABLE jobs; --",
  '../../etc/passwd',
  '%00',
  '%2e%2e%2f',
  '#{jndi:ldap://x}',
  '{{7*7}}',
  '<script>',
  'a'.repeat(10_000),
  '😀'.repeat(201),
  '\u202e\u200b',
  'NaN',
  'Infinity',
  '1e400',
  '0x10',
  '١٢',
  '9'.repeat(400),
  '61 * * * * *',
  '* * * * * * *',
  '*/0 * * * *',
  '60 0 * * *',
  '0 0 31 2 *',
  '0 0 L * *',
  '* * * * MON#1',
  '@every 1ms',
  'CRON_TZ=X * * * * *',
  '0-99999999 * * * *',
  '*,'.repeat(3_000),
  '0s',
  '-1s',
  '1ms',
  '999999999999d',
  'P1Y',
  'PT0S',
  'PT1e9S',
  '1h1h',
  'Mars/Olympus',
  'UTC+25',
  '../UTC',
  'Europe/Berlin\n',
  '2026-02-30T00:00:00Z',
  '0000-01-01T00:00:00Z',
  '+275760-09-13T00:00:00Z',
  '9999-12-31T23:59:59Z',
  '1970-01-01T00:00:00Z',
  '2026-01-01',
  'yesterday',
  'http://',
  'https://[::1',
  'http://user:pass@example.com',
  'file:///etc/passwd',
  'gopher://x',
  'javascript:alert(1)',
  '//example.com',
  'http://exa mple.com',
  'http://x/\r\nX: y',
  'a'.repeat(70_000),
  [],
  [null],
  [[]],
  {},
  { a: undefined },
  { '': '' },
  { __proto__: null, constructor: { prototype: {} } },
  JSON.parse('{"__proto__":{"admin":true}}'),
  { toJSON: 1 },
  JSON.parse('{"then":1}'),
  Array.from({ length: 5_000 }, () => 'x'),
  Object.fromEntries(Array.from({ length: 2_000 }, (_, n) => [`k${n}`, n])),
  deep,
];

/** Ids and names that are none. */
export const STRANGE_IDS: readonly string[] = [
  'nope',
  'job_',
  'job_0',
  `job_${'f'.repeat(32)}`,
  'job_01890000-0000-7000-8000-000000000000',
  'JOB_01890000-0000-7000-8000-000000000000',
  '..',
  '.',
  '%2e%2e',
  '%2F..%2Fjobs',
  "'%20OR%201=1--",
  '%22',
  '%5c',
  '%3Cscript%3E',
  '__proto__',
  'constructor',
  'a'.repeat(5_000),
  '%F0%9F%98%80'.repeat(100),
  '%00',
  '%ff',
  '%',
  '%zz',
  '*',
  ':job',
  'null',
  '0',
  '1e9',
  'job_01890000-0000-7000-8000-000000000000-2026-01-01T00:00:00Z',
  'job_01890000-0000-7000-8000-000000000000-99999-99-99T99:99:99Z',
  'job_01890000-0000-7000-8000-000000000000-+275760-09-13T00:00:00Z',
  'job_01890000-0000-7000-8000-000000000000-0000-01-01T00:00:00Z',
  'job_01890000-0000-7000-8000-000000000000-manual-ffffffff-ffff-7fff-8fff-ffffffffffff',
  'job_01890000-0000-7000-8000-000000000000-manual-x',
  '%E2%80%AE',
  '%0d%0aX:%20y',
];

export const QUERIES: readonly string[] = [
  'limit=0',
  'limit=201',
  'limit=-1',
  'limit=1e2',
  'limit=',
  'limit=1&limit=2',
  'limit[]=1',
  'limit[a]=1',
  'cursor=',
  'cursor=x',
  'cursor=AAAA',
  `cursor=${'A'.repeat(9_000)}`,
  'cursor=eyJ2IjpbXX0',
  'cursor=%00',
  'sort=drop',
  'sort=__proto__',
  'status=nope',
  'status=failed&status=failed',
  'trigger=x',
  'q=%00',
  'q=%25%25',
  "q='",
  `q=${'x'.repeat(500)}`,
  'q=%ed%a0%80',
  'from=x',
  'from=2026-01-01',
  'from=+275760-09-13T00:00:00Z',
  'to=0000-01-01T00:00:00Z',
  'from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z',
  'tag=%00',
  'tag=:',
  'tag=a:b:c',
  'tag=',
  'priority=9',
  'priority=1.0',
  'state=gone',
  'jobId=%00',
  'jobId=__proto__',
  'unknown=1',
  '__proto__=1',
  'constructor[prototype][a]=1',
  '=',
  '&&&',
  '?',
  'wait=x',
  'wait=61s',
  'wait=-1s',
  'wait=1e9s',
  'running=yes',
  '%',
  '%zz=1',
  'a=%ff',
];

export const FULL_JOB = {
  name: 'whole',
  description: 'd',
  team: 'default',
  category: 'batch',
  tags: { env: 'prod' },
  dispatch: 'auto',
  priority: 2,
  enabled: true,
  input: { a: [1] },
  schedule: { cron: '0 3 * * *', timezone: 'Europe/Berlin', startAt: '2030-01-01T00:00:00Z', endAt: '2031-01-01T00:00:00Z', jitter: '30s' },
  overlap: 'skip',
  catchUp: { policy: 'last', window: '1h' },
  target: { type: 'http', url: 'https://example.com/x', method: 'POST', headers: { a: 'b' }, body: { c: 1 }, success: '200-299' },
  timeout: '10s',
  deadline: '10m',
  retry: { maxAttempts: 3, initialInterval: '1s', backoffCoefficient: 2, maxInterval: '1m', nonRetryable: ['4xx'] },
  pauseAfterFailures: 5,
};

/** mulberry32: small, seeded. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The document with one place, at any depth, replaced, removed, doubled under a strange key, or joined by one. */
export function spoiled(document: unknown, next: () => number): unknown {
  const copy = structuredClone(document);
  const places: { of: Record<string, unknown>; key: string }[] = [];
  const walk = (value: unknown) => {
    if (typeof value !== 'object' || value === null) return;
    for (const key of Object.keys(value)) {
      places.push({ of: value as Record<string, unknown>, key });
      walk((value as Record<string, unknown>)[key]);
    }
  };
  walk(copy);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  const place = pick(places);
  const value = pick(NONSENSE);
  const how = next();
  if (how < 0.75) place.of[place.key] = value;
  else if (how < 0.85) delete place.of[place.key];
  else
    Object.defineProperty(place.of, pick(['__proto__', 'constructor', 'unknown', '', ' name', 'Name', 'a'.repeat(300), '\u0000']), {
      value,
      enumerable: true,
      configurable: true,
    });
  return copy;
}
