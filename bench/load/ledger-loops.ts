/** The controller's loops that keep the ledger, and nothing else of it: the search for late slots, the watchdog, the health of intervals. On DATABASE_URL, until the channel closes. */
import { createIntervalHealth } from '../../src/controller/interval-health.ts';
import { createLateSlotLoop } from '../../src/controller/late-slots.ts';
import { createServers } from '../../src/controller/servers.ts';
import { createWatchdog } from '../../src/controller/watchdog.ts';
import { createLateSlots } from '../../src/jobs/clocks/late-slots.ts';
import { createLog } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics.ts';
import { createPool } from '../../src/postgres.ts';
import { createTemporalClient } from '../../src/temporal.ts';

const log = createLog('ledger', 'warn');
const pool = createPool(
  { DATABASE_URL: process.env.DATABASE_URL!, DATABASE_POOL: 5, DATABASE_CONNECT_TIMEOUT_MS: 10_000 },
  log,
  'ledger-bench',
);
const temporal = createTemporalClient({
  TEMPORAL_ADDRESS: '127.0.0.1:1',
  TEMPORAL_NAMESPACE: 'none',
  TEMPORAL_API_KEY: '',
  TEMPORAL_TLS: false,
});
const servers = createServers({ pool, temporal, log, onBack: () => {} });
let late = 0;
const shared = { pool, servers, log };
const loops = [
  createLateSlotLoop({
    ...shared,
    lateSlots: createLateSlots({ pool, bufferLimit: 1_000 }),
    startOne: async () => {
      late += 1;
      return true;
    },
  }),
  createWatchdog({ ...shared, metrics: createMetrics('ledger'), graceMs: 60_000 }),
  createIntervalHealth(shared),
];
for (const loop of loops) loop.start();
// `{}` asks how many slots were late: where all have rows, none may be
process.on('message', () => process.send?.({ result: late }));
process.on('disconnect', () => {
  void Promise.all([servers.stop(), ...loops.map((loop) => loop.stop())]).then(() => process.exit(0));
});
