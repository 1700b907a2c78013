/** How many tasks wait in Temporal for workers of a queue. */
import type { Client } from '@temporalio/client';
import proto from '@temporalio/proto';
import { poolTaskQueueFor, taskQueueFor } from './ids.ts';

const { TASK_QUEUE_TYPE_ACTIVITY, TASK_QUEUE_TYPE_WORKFLOW } = proto.temporal.api.enums.v1.TaskQueueType;

/** @returns a function that gives the tasks, of workflows and activities together, waiting in one of our queues; an estimate of the server's. */
export function createTaskQueueBacklog(client: Client): (queue: string) => Promise<number> {
  const waiting = async (name: string, taskQueueType: number): Promise<number> => {
    const described = await client.workflowService.describeTaskQueue({
      namespace: client.options.namespace,
      taskQueue: { name },
      taskQueueType,
      reportStats: true,
    });
    return Number(described.stats?.approximateBacklogCount ?? 0);
  };
  return async (queue) => {
    const names = [taskQueueFor(queue), poolTaskQueueFor(queue)];
    const types = [TASK_QUEUE_TYPE_WORKFLOW, TASK_QUEUE_TYPE_ACTIVITY];
    const counts = await Promise.all(names.flatMap((name) => types.map((type) => waiting(name, type))));
    return counts.reduce((sum, count) => sum + count, 0);
  };
}
