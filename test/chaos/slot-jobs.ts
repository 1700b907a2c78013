/** Jobs of mixed schedules, and when each of them is due by plain arithmetic: no line of the scheduler's own is asked. */

/** A job that fires at every moment that is `offsetS` seconds after a multiple of `everyS`, counted from 1970. */
export type SlotJob = {
  document: Record<string, unknown> & { name: string };
  everyS: number;
  offsetS: number;
  /** What its slots must have become: an execution or a skipped row, or a stretch of a calendar. */
  excluded: boolean;
};

/** Zones that are whole minutes away from UTC now, so that a second of every minute is the same second everywhere. */
const ZONES = ['UTC', 'Europe/Berlin', 'Asia/Kathmandu', 'Australia/Lord_Howe', 'America/St_Johns', 'Pacific/Chatham'];

/** Names of the calendars that the jobs below use: one holds every day, the other holds days long past. */
export const ALWAYS = 'chaos-always';
export const NEVER = 'chaos-never';
export const CALENDARS = [
  { name: ALWAYS, weekly: [{ days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] }] },
  { name: NEVER, dates: ['2020-02-29'] },
];

/** The nth of many jobs: every tenth is of the same kind. */
export function slotJob(n: number, url: string): SlotJob {
  const second = (n * 7) % 60;
  const minutely = (cron: string, more: Record<string, unknown> = {}) => ({ schedule: { cron, ...more } });
  const kinds: (() => { everyS: number; offsetS: number; schedule: Record<string, unknown>; more?: Record<string, unknown> })[] = [
    () => ({ everyS: 60, offsetS: 0, ...minutely('* * * * *') }),
    () => ({ everyS: 60, offsetS: second, ...minutely(`${second} * * * * *`, { timezone: ZONES[n % ZONES.length] }) }),
    () => ({ everyS: 5 + (n % 26), offsetS: 0, schedule: { every: `${5 + (n % 26)}s` }, more: { dispatch: 'dedicated' } }),
    () => ({ everyS: 10, offsetS: 0, schedule: { every: '10s' }, more: { dispatch: 'pooled' } }),
    () => ({ everyS: 30, offsetS: n % 30, schedule: { every: '30s', offset: `${n % 30}s` } }),
    () => ({ everyS: 20, offsetS: 0, schedule: { every: '20s', jitter: '8s' } }),
    () => ({ everyS: 15, offsetS: 0, schedule: { every: '15s', exclude: [n % 20 < 10 ? ALWAYS : NEVER] } }),
    () => ({ everyS: 60, offsetS: second, ...minutely(`${second} * * * * *`, { include: [ALWAYS], timezone: ZONES[n % ZONES.length] }) }),
    () => ({
      everyS: 12,
      offsetS: 0,
      schedule: { every: '12s' },
      more: { overlap: 'buffer_all', catchUp: { policy: 'all', window: '10m' } },
    }),
    () => ({ everyS: 25, offsetS: 0, schedule: { every: '25s' }, more: { overlap: 'allow_all', catchUp: { policy: 'none' } } }),
  ];
  const { everyS, offsetS, schedule, more } = kinds[n % kinds.length]!();
  const target = { type: 'http', url: `${url}/steady`, method: 'POST' };
  const excluded = Array.isArray(schedule.exclude) && schedule.exclude[0] === ALWAYS;
  return { document: { name: `slots-${n}`, schedule, target, timeout: '8s', ...more }, everyS, offsetS, excluded };
}

/** The moments at which the job is due with from <= slot <= to, milliseconds since 1970. */
export function dueBetween({ everyS, offsetS }: Pick<SlotJob, 'everyS' | 'offsetS'>, from: number, to: number): number[] {
  const [every, offset] = [everyS * 1_000, offsetS * 1_000];
  const due: number[] = [];
  for (let at = Math.ceil((from - offset) / every) * every + offset; at <= to; at += every) due.push(at);
  return due;
}
