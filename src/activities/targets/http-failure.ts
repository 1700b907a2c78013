/** Gives each way a call can break on the wire its type and a sentence that names the cause. */
import { storableMessage } from './storable-json.ts';
import { failed, type TargetErrorType, type TargetOutcome } from './target-call.ts';

const DNS = /^(ENOTFOUND|EAI_|EDNS|ENODATA|ESERVFAIL)/;
const TLS =
  /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA|PATH_LENGTH_|INVALID_PURPOSE|CRL_|EPROTO)/;

/** @param where method and URL without query, for the message. */
export function wireFailure(error: unknown, where: string): TargetOutcome {
  const cause = firstCause(error);
  const code = String((cause as NodeJS.ErrnoException).code ?? '');
  const type = typeOf(code);
  // An AggregateError of several addresses has no message of its own, and some socket errors only a code.
  const sentence = cause.message === '' ? code || cause.name : cause.message;
  return failed(type, storableMessage(`${where}: ${sentence}`), type !== 'address_refused' && type !== 'invalid_input');
}

function typeOf(code: string): TargetErrorType {
  if (code === 'ALMANAC_ADDRESS_REFUSED') return 'address_refused';
  if (code === 'UND_ERR_HEADERS_OVERFLOW' || code === 'HPE_HEADER_OVERFLOW') return 'response_too_large';
  if (code === 'UND_ERR_INVALID_ARG') return 'invalid_input';
  if (DNS.test(code)) return 'dns';
  if (TLS.test(code)) return 'tls';
  return 'network';
}

function firstCause(error: unknown): Error {
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return error.errors[0];
  return error instanceof Error ? error : new Error(String(error));
}
