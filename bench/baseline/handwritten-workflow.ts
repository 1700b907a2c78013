/** What a Temporal user writes by hand: a workflow with one activity. Eager dispatch of the activity is the SDK's default, and said here. */
import { proxyActivities } from '@temporalio/workflow';

type Activities = { plain(id: string): Promise<object>; withRow(id: string): Promise<object> };

const { plain, withRow } = proxyActivities<Activities>({
  startToCloseTimeout: '10s',
  retry: { maximumAttempts: 3 },
  allowEagerDispatch: true,
});

export const handwrittenPlain = (id: string): Promise<object> => plain(id);
export const handwrittenWithRow = (id: string): Promise<object> => withRow(id);
