/** How many tasks wait in Temporal for workers of a queue. */
import type { Client } from '@temporalio/client';
import proto from '@temporalio/proto';
import { taskQueueFor } from './ids.ts';

const { TASK_QUEUE_TYPE_ACTIVITY, TASK_QUEUE_TYPE_WORKFLOW } = proto.temporal.api.enums.v1.TaskQueueType;

/** @returns a function that gives the tasks, of workflows and activities together, waiting in one of our queues; an estimate of the server's. */
export function createTaskQueueBacklog(client: Client): (queue: string) => Promise<number> {
  const waiting = async (queue: string, taskQueueType: number): Promise<number> => {
    const described = await client.workflowService.describeTaskQueue({
      namespace: client.options.namespace,
      taskQueue: { name: taskQueueFor(queue) },
      taskQueueType,
      reportStats: true,
    });
    return Number(described.stats?.approximateBacklogCount ?? 0);
  };
  return async (queue) => {
    const [workflows, activities] = await Promise.all([waiting(queue, TASK_QUEUE_TYPE_WORKFLOW), waiting(queue, TASK_QUEUE_TYPE_ACTIVITY)]);
    return workflows + activities;
  };
}
