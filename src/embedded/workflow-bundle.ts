/** The workflow bundle, built once per content of src/workflows and kept: a worker that need not build it starts sooner and stays smaller. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { run } from './run.ts';

/** @returns path of the bundle. */
export async function workflowBundle(options: {
  directory: string;
  cache: string;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
}): Promise<string> {
  const { directory, cache, environment, signal } = options;
  const hash = createHash('sha256').update(process.version);
  const workflows = path.join(directory, 'src/workflows');
  const sources = readdirSync(workflows, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  for (const file of sources.sort()) hash.update(file).update(readFileSync(path.join(workflows, file)));
  hash.update(readFileSync(path.join(directory, 'package-lock.json')));
  const name = `workflows-${hash.digest('hex').slice(0, 20)}.js`;
  const bundle = path.join(cache, name);
  if (existsSync(bundle)) return bundle;
  await run(process.execPath, ['scripts/bundle-workflows.ts', bundle], { directory, environment, withinMs: 120_000, signal });
  for (const file of readdirSync(cache)) {
    if (file.startsWith('workflows-') && file !== name) rmSync(path.join(cache, file), { force: true });
  }
  return bundle;
}
