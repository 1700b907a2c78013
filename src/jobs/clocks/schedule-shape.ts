/** What the Temporal schedule of a clock looks like, and how far a described or listed one is from it. */
import type { Client } from '@temporalio/client';
import {
  encodeScheduleAction,
  encodeSchedulePolicies,
  encodeScheduleSpec,
  encodeScheduleState,
} from '@temporalio/client/lib/schedule-helpers.js';
import { decodeArrayFromPayloads } from '@temporalio/common/lib/internal-non-workflow/index.js';
import type { temporal } from '@temporalio/proto';
import { poolTaskQueueFor, taskQueueFor } from '../ids.ts';
import { extrasOf } from '../time/extras.ts';
import { toTemporalSpec } from '../time/temporal-spec.ts';
import type { DesiredClock } from './clock-store.ts';
import { sameAsListed, sameSpec, specForm } from './spec-form.ts';

type Schedule = temporal.api.schedule.v1.ISchedule;
type ListEntry = temporal.api.schedule.v1.IScheduleListEntry;

/** The workflows that slots start: one per execution, or one for all members of a shared clock. */
const WORKFLOW_TYPES: Record<DesiredClock['kind'], string> = { dedicated: 'executeJob', pooled: 'serveSlot' };

/** How our schedules are told from others in the same namespace. */
export const isClockWorkflow = (type: string | null | undefined): boolean =>
  type !== null && type !== undefined && Object.values(WORKFLOW_TYPES).includes(type);
/** Temporal starts slots up to this late by itself; what is later is decided by the job's `catchUp` (semantics.md 9). */
const CATCHUP_WINDOW_MS = 60_000;
/** The server refuses static summaries over 400 bytes, JSON quotes and escapes included. */
const SUMMARY_BYTES = 360;

/** The note people read beside the schedule: the job's name (or that there are several), then what this projection was made from, and by whom. */
export const clockNote = (desired: Pick<DesiredClock, 'label' | 'queue' | 'generation'>, installation: string): string =>
  `${desired.label} · queue ${desired.queue} · generation ${desired.generation} · kept by Almanac ${installation}: change the job, not this schedule`;

/** The generation and the installation in a note of ours; 0 and empty when it is somebody else's note. */
export function readNote(note: string | null | undefined): { generation: number; installation: string } {
  const [, generation, installation] = / · generation (\d+) · kept by Almanac ([0-9a-f]+): /.exec(note ?? '') ?? [];
  return { generation: Number(generation ?? 0), installation: installation ?? '' };
}

const fitting = (text: string): string => {
  if (Buffer.byteLength(JSON.stringify(text)) <= SUMMARY_BYTES) return text;
  const characters = [...text];
  while (Buffer.byteLength(JSON.stringify(characters.join(''))) > SUMMARY_BYTES) characters.pop();
  return `${characters.join('')}…`;
};

/** Dated extras are those ahead at this moment. */
const specOf = ({ timing }: DesiredClock) => toTemporalSpec(timing, extrasOf(timing, new Date()));

/** The whole schedule as Temporal's API takes it. */
export async function scheduleOf(client: Client, desired: DesiredClock, installation: string): Promise<Schedule> {
  return {
    spec: encodeScheduleSpec(specOf(desired)),
    action: await encodeScheduleAction(
      client.options.loadedDataConverter,
      client.options.namespace,
      {
        type: 'startWorkflow',
        workflowType: WORKFLOW_TYPES[desired.kind],
        workflowId: desired.id,
        taskQueue: desired.kind === 'pooled' ? poolTaskQueueFor(desired.queue) : taskQueueFor(desired.queue),
        args: [{ team: desired.team, clock: desired.id }],
        staticSummary: fitting(desired.label),
      },
      {},
    ),
    policies: encodeSchedulePolicies({ overlap: 'ALLOW_ALL', catchupWindow: CATCHUP_WINDOW_MS }),
    state: encodeScheduleState({ paused: desired.paused, note: clockNote(desired, installation) }),
  };
}

/** SCHEDULE_OVERLAP_POLICY_ALLOW_ALL: the overlap policy is ours, decided by admit (semantics.md 14). */
const ALLOW_ALL = 6;

/** Names of the parts in which a described schedule differs from the wanted one; none means that Temporal has it. */
export async function differences(client: Client, described: Schedule, wanted: Schedule): Promise<string[]> {
  const found: string[] = [];
  const differ = (part: string, is: unknown, want: unknown) => {
    if (is !== want) found.push(part);
  };
  const is = described.action?.startWorkflow;
  const want = wanted.action?.startWorkflow;
  if (!sameSpec(specForm(described.spec), specForm(wanted.spec))) found.push('spec');
  differ('workflowType', is?.workflowType?.name, want?.workflowType?.name);
  differ('workflowId', is?.workflowId, want?.workflowId);
  differ('taskQueue', is?.taskQueue?.name, want?.taskQueue?.name);
  differ('args', await argumentsText(client, is), await argumentsText(client, want));
  differ('overlap', Number(described.policies?.overlapPolicy ?? 0), ALLOW_ALL);
  differ('catchupWindow', Number(described.policies?.catchupWindow?.seconds ?? 0), CATCHUP_WINDOW_MS / 1000);
  differ('pauseOnFailure', described.policies?.pauseOnFailure ?? false, false);
  differ('keepOriginalWorkflowId', described.policies?.keepOriginalWorkflowId ?? false, false);
  differ('limitedActions', described.state?.limitedActions ?? false, false);
  differ('paused', described.state?.paused ?? false, wanted.state?.paused ?? false);
  differ('note', described.state?.notes ?? '', wanted.state?.notes ?? '');
  return found;
}

/** The arguments as text; undefined when they cannot be read (another codec wrote them), which is a difference. */
async function argumentsText(
  client: Client,
  action: temporal.api.workflow.v1.INewWorkflowExecutionInfo | null | undefined,
): Promise<string | undefined> {
  try {
    const context = { type: 'workflow' as const, namespace: client.options.namespace, workflowId: action?.workflowId ?? '' };
    const values = (await decodeArrayFromPayloads(client.options.loadedDataConverter, action?.input?.payloads, context)) as Record<
      string,
      unknown
    >[];
    return JSON.stringify(values.map((value) => (value && typeof value === 'object' ? Object.entries(value).sort() : value)));
  } catch {
    return undefined;
  }
}

/** True when an entry of Temporal's schedule list is, as far as the list shows it, what the clock wants. */
export function sameAsListEntry(entry: ListEntry, desired: DesiredClock, installation: string): boolean {
  return (
    entry.info?.workflowType?.name === WORKFLOW_TYPES[desired.kind] &&
    (entry.info.paused ?? false) === desired.paused &&
    (entry.info.notes ?? '') === clockNote(desired, installation) &&
    sameAsListed(specForm(entry.info.spec), specForm(encodeScheduleSpec(specOf(desired))))
  );
}
