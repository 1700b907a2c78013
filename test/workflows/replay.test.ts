/** Histories of real runs (test/histories: protobuf `temporal.api.history.v1.History`, made by record-histories.ts) must replay under today's code: whatever runs during a release goes on with the new one. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import protocol from '@temporalio/proto';
import { bundleWorkflowCode, Runtime, Worker } from '@temporalio/worker';

const FOLDER = fileURLToPath(new URL('../histories/', import.meta.url));
const quiet = { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error() {} };

test('every recorded history replays without a difference', async () => {
  Runtime.install({ logger: quiet });
  const histories = readdirSync(FOLDER)
    .filter((file) => file.endsWith('.bin'))
    .map((file) => ({ workflowId: file, history: protocol.temporal.api.history.v1.History.decode(readFileSync(FOLDER + file)) }));
  assert.ok(histories.length >= 18, `${histories.length} histories`);
  const workflowBundle = await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('../../src/workflows/index.ts', import.meta.url)),
    logger: quiet,
  });
  const differences: string[] = [];
  for await (const { workflowId, error } of Worker.runReplayHistories({ workflowBundle }, histories)) {
    if (error) differences.push(`${workflowId}: ${error.message}`);
  }
  assert.deepEqual(differences, []);
});
