/** Calls whatever a definition's target names: a URL, a path of a registered service, or a handler of this worker. */
import type { Target } from '../jobs/target-document.ts';
import type { HandlerTargetCaller } from './targets/handler-target.ts';
import type { HttpTargetCaller } from './targets/http-target.ts';
import { withNonRetryable } from './targets/http-verdict.ts';
import { failed, type TargetCall, type TargetOutcome } from './targets/target-call.ts';

export type DefinedCall = TargetCall & {
  target: Target;
  /** The registered service that the target names, as it is now. */
  service: { baseUrl: string; headers: Record<string, string> } | null;
  nonRetryable: readonly string[];
};
export type CallTarget = (call: DefinedCall) => Promise<TargetOutcome>;

export function createCallTarget({ http, handlers }: { http: HttpTargetCaller; handlers: HandlerTargetCaller }): CallTarget {
  return async function callTarget({ target, service, nonRetryable, ...call }) {
    if (target.type === 'handler') return withNonRetryable(await handlers.call(target.name, call), nonRetryable);
    if (target.service !== undefined && !service) {
      return failed(
        'invalid_input',
        `service ${JSON.stringify(target.service)} is not registered any more; register it, or change the target`,
        true,
      );
    }
    return await http.call(
      {
        url: target.url ?? joined(service!.baseUrl, target.path ?? ''),
        method: target.method,
        headers: { ...withoutThose(service?.headers ?? {}, target.headers), ...target.headers },
        success: target.success,
        nonRetryable,
        ...(target.body === undefined ? {} : { body: target.body }),
      },
      call,
    );
  };
}

/** The job's path below the service's base address, each keeping its own slashes but the one between them. */
const joined = (base: string, path: string): string => `${base.replace(/\/+$/, '')}${path}`;

/** The service's headers but those that the job sets itself, in whatever case. */
function withoutThose(headers: Record<string, string>, own: Record<string, string>): Record<string, string> {
  const taken = new Set(Object.keys(own).map((name) => name.toLowerCase()));
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !taken.has(name.toLowerCase())));
}
