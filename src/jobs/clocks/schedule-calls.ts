/** The calls to Temporal that reconciling makes: raw, because only the raw update takes a conflict token; each with a deadline. */
import { randomUUID } from 'node:crypto';
import { type Client, isGrpcServiceError } from '@temporalio/client';
import type { temporal } from '@temporalio/proto';

type Schedule = temporal.api.schedule.v1.ISchedule;
type ListEntry = temporal.api.schedule.v1.IScheduleListEntry;
export type Described = { schedule: Schedule; conflictToken: Uint8Array };

/** gRPC status codes. */
const FAILED_PRECONDITION = 9;
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;

/** How long one call may take, milliseconds. After that it counts as "Temporal is away". */
const CALL_MS = 10_000;
/** The most that a page of Temporal's list holds. */
const PAGE = 1_000;

const hasCode = (error: unknown, code: number): boolean => isGrpcServiceError(error) && error.code === code;

export type ScheduleCalls = ReturnType<typeof createScheduleCalls>;

export function createScheduleCalls(client: Client) {
  const service = client.workflowService;
  const { namespace, identity } = client.options;
  const within = <T>(signal: AbortSignal | undefined, call: () => Promise<T>): Promise<T> => {
    const timed = () => client.withDeadline(Date.now() + CALL_MS, call);
    return signal ? client.withAbortSignal(signal, timed) : timed();
  };

  return {
    /** Creates the schedule; false when one with this id is there already. */
    async create(scheduleId: string, schedule: Schedule, signal?: AbortSignal): Promise<boolean> {
      try {
        await within(signal, () => service.createSchedule({ namespace, identity, requestId: randomUUID(), scheduleId, schedule }));
        return true;
      } catch (error) {
        if (hasCode(error, ALREADY_EXISTS)) return false;
        throw error;
      }
    },

    /** The schedule as it is now; null when there is none. */
    async describe(scheduleId: string, signal?: AbortSignal): Promise<Described | null> {
      try {
        const answer = await within(signal, () => service.describeSchedule({ namespace, scheduleId }));
        return { schedule: answer.schedule ?? {}, conflictToken: answer.conflictToken };
      } catch (error) {
        if (hasCode(error, NOT_FOUND)) return null;
        throw error;
      }
    },

    /**
     * Asks for the schedule to be replaced unless it has changed since `conflictToken` was read. The workflow-backed scheduler takes this as a signal, and drops
     * it without a word when the token is old: only a describe tells whether it happened. False: the schedule is gone, or the server said that the token is old.
     */
    async update(scheduleId: string, schedule: Schedule, conflictToken: Uint8Array, signal?: AbortSignal): Promise<boolean> {
      try {
        await within(signal, () =>
          service.updateSchedule({ namespace, identity, requestId: randomUUID(), scheduleId, schedule, conflictToken }),
        );
        return true;
      } catch (error) {
        if (hasCode(error, NOT_FOUND) || hasCode(error, FAILED_PRECONDITION)) return false;
        throw error;
      }
    },

    /** Deletes the schedule; running workflows go on. A schedule that is not there counts as deleted. */
    async remove(scheduleId: string, signal?: AbortSignal): Promise<void> {
      try {
        await within(signal, () => service.deleteSchedule({ namespace, identity, scheduleId }));
      } catch (error) {
        if (!hasCode(error, NOT_FOUND)) throw error;
      }
    },

    /** One page of all schedules of the namespace; the list may be seconds behind. Costs one of the few visibility calls per second. */
    async list(pageToken: Uint8Array, signal?: AbortSignal): Promise<{ entries: ListEntry[]; next: Uint8Array | null }> {
      const answer = await within(signal, () => service.listSchedules({ namespace, maximumPageSize: PAGE, nextPageToken: pageToken }));
      return { entries: answer.schedules, next: answer.nextPageToken.length > 0 ? answer.nextPageToken : null };
    },
  };
}
