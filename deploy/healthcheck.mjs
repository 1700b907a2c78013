/**
 * Health probe of the container image: `node deploy/healthcheck.mjs <url>` ends with 0 when the address answers 2xx within 4 s,
 * else with 1 and the reason on stderr. Plain JavaScript without dependencies, so that a probe costs little.
 */
const address = process.argv[2] ?? 'http://127.0.0.1:8080/health/ready';
try {
  const response = await fetch(address, { signal: AbortSignal.timeout(4_000), redirect: 'error' });
  if (!response.ok) throw new Error(`${address} answered ${response.status}: ${(await response.text()).slice(0, 500)}`);
  await response.body?.cancel();
} catch (error) {
  console.error(error instanceof Error ? [error.message, error.cause].filter(Boolean).join(': ') : String(error));
  process.exitCode = 1;
}
