/**
 * Builds the workflow bundle ahead of time, so that a worker neither bundles at its start (about 1 s and its memory) nor needs
 * to write anywhere: `node scripts/bundle-workflows.ts [file]`, by default dist/workflows.js. Point WORKFLOW_BUNDLE at the file.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

const target = path.resolve(process.argv[2] ?? 'dist/workflows.js');
const { code } = await bundleWorkflowCode({ workflowsPath: fileURLToPath(new URL('../src/workflows/index.ts', import.meta.url)) });
await mkdir(path.dirname(target), { recursive: true });
// Written beside and renamed: a worker that starts meanwhile reads the old bundle or the new one, never half of one.
const unfinished = `${target}.${process.pid}`;
await writeFile(unfinished, code);
await rename(unfinished, target);
console.log(`${target}: ${Math.round(code.length / 1024)} KiB`);
