/** Everything a process needs to call targets, from its settings: the handlers it has and the guarded way out. */
import { fileURLToPath } from 'node:url';
import type { Config } from '../config.ts';
import { type CallTarget, createCallTarget } from './call-target.ts';
import { type HandlerRegistry, loadHandlers } from './targets/handler-registry.ts';
import { createHandlerTarget } from './targets/handler-target.ts';
import { createHttpTarget } from './targets/http-target.ts';

const SHIPPED_HANDLERS = fileURLToPath(new URL('../../handlers', import.meta.url));

export type TargetSettings = Pick<Config, 'ALMANAC_HANDLERS' | 'ALMANAC_TARGET_ALLOW' | 'ALMANAC_TARGET_DENY'>;
export type Targets = {
  callTarget: CallTarget;
  handlers: HandlerRegistry;
  /** Closes every socket. */
  close: () => Promise<void>;
};

/**
 * Loads the handlers that are shipped and the user's own, and opens the way out.
 * @throws HandlerLoadError for a handler file that does not load.
 * @throws AddressRuleError for an address rule that can't be read.
 */
export async function openTargets(settings: TargetSettings): Promise<Targets> {
  const handlers = await loadHandlers(SHIPPED_HANDLERS, ...(settings.ALMANAC_HANDLERS ? [settings.ALMANAC_HANDLERS] : []));
  const http = createHttpTarget({ allow: settings.ALMANAC_TARGET_ALLOW, deny: settings.ALMANAC_TARGET_DENY });
  return { callTarget: createCallTarget({ http, handlers: createHandlerTarget(handlers) }), handlers, close: http.close };
}
