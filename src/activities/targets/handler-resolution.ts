/**
 * Lets a handler file live in any folder: `almanac/handlers` is this checkout's `src/handlers.ts` from everywhere, and `zod` is ours where the
 * folder has none of its own. Inside the checkout package.json's `exports` says the same, so that editors and `tsc` agree.
 */
import { registerHooks } from 'node:module';

const OWN = new Map([['almanac/handlers', new URL('../../handlers.ts', import.meta.url).href]]);
const FALLBACK = new Map([['zod', import.meta.resolve('zod')]]);
let registered = false;

/** Installs the hook, once per process; it stays, because a handler may import when it runs. */
export function resolveHandlerImports(): void {
  if (registered) return;
  registered = true;
  registerHooks({
    resolve(specifier, context, nextResolve) {
      const own = OWN.get(specifier);
      if (own !== undefined) return { url: own, shortCircuit: true };
      const fallback = FALLBACK.get(specifier);
      if (fallback === undefined) return nextResolve(specifier, context);
      try {
        return nextResolve(specifier, context);
      } catch {
        return { url: fallback, shortCircuit: true };
      }
    },
  });
}
