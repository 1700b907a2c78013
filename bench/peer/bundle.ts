/** Makes the workflow bundle beforehand, as `npm start` does. */
import { fileURLToPath } from 'node:url';
import { workflowBundle } from '../../src/embedded/workflow-bundle.ts';

await workflowBundle({
  directory: fileURLToPath(new URL('../..', import.meta.url)),
  cache: process.env.PEER_BUNDLES!,
  environment: { ...process.env },
  signal: AbortSignal.timeout(120_000),
});
