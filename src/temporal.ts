/** The one seam to Temporal's client side: a connection that survives the server, and the words for "it is away". */
import { Client, Connection, defaultGrpcRetryOptions, isGrpcServiceError, makeGrpcRetryInterceptor } from '@temporalio/client';
import type { Config } from './config.ts';

export type TemporalSettings = Pick<Config, 'TEMPORAL_ADDRESS' | 'TEMPORAL_NAMESPACE' | 'TEMPORAL_API_KEY' | 'TEMPORAL_TLS'>;

/** What gRPC needs to reach the server: address, and TLS and API key when set. */
export function connectionOptions(settings: TemporalSettings): { address: string; apiKey?: string; tls?: true } {
  return {
    address: settings.TEMPORAL_ADDRESS,
    ...(settings.TEMPORAL_API_KEY ? { apiKey: settings.TEMPORAL_API_KEY } : {}),
    ...(settings.TEMPORAL_TLS ? { tls: true as const } : {}),
  };
}

/** Without these a client waits up to two minutes between two tries to connect, and Temporal's return goes unnoticed for so long. */
const RECONNECT = { 'grpc.initial_reconnect_backoff_ms': 500, 'grpc.max_reconnect_backoff_ms': 3_000 };

/**
 * The SDK's ten tries go on for over ten seconds, and past the call's own deadline; a try after the connection was closed ends the process. All our callers
 * try again later by themselves: four tries here, within a second, only bridge a hiccup.
 */
const TRIES = 4;

/** A client whose connection is made lazily: the process starts while Temporal is away. Close it with `client.connection.close()` when no call is under way. */
export function createTemporalClient(settings: TemporalSettings): Client {
  const connection = Connection.lazy({
    ...connectionOptions(settings),
    channelArgs: RECONNECT,
    interceptors: [makeGrpcRetryInterceptor(defaultGrpcRetryOptions({ maxAttempts: TRIES }))],
  });
  return new Client({ connection, namespace: settings.TEMPORAL_NAMESPACE });
}

/** UNAVAILABLE: no connection, or a server that is going down. */
const UNREACHABLE_CODE = 14;
/** gRPC status codes after which the same call may succeed later: CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, UNAVAILABLE. */
const AWAY_CODES = new Set([1, 4, 8, 10, 14]);

/** True when the error says that Temporal can't be reached or is overloaded right now. */
export function isTemporalAway(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (isGrpcServiceError(cause) && AWAY_CODES.has(cause.code)) return true;
  }
  return false;
}

/** True when nothing answers at Temporal's address; a server that is only slow or busy is not unreachable. */
export function isTemporalUnreachable(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (isGrpcServiceError(cause) && cause.code === UNREACHABLE_CODE) return true;
  }
  return false;
}
