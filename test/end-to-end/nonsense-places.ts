/** Places of the API that are about slots, calendars, freezes, operations and archives: where a stranger puts nonsense. */

const NO_FREEZE = 'frz_01890000-0000-7000-8000-000000000000';

/** Method, path and a document that is right, of which one place is spoiled. */
export const BODIES_OF_SLOTS: [string, string, unknown][] = [
  [
    'PUT',
    '/calendars/victim',
    {
      name: 'victim',
      description: 'd',
      dates: ['12-24', '2027-01-04'],
      ranges: [{ from: '2026-12-27', to: '2026-12-31T18:00' }],
      weekly: [{ days: ['sat'], from: '22:00', to: '06:00' }],
      holidays: [{ country: 'DE', region: 'BY', types: ['public'] }],
    },
  ],
  ['PATCH', '/calendars/victim?dryRun=true', { dates: ['12-24'], weekly: [{ days: ['mon'] }] }],
  [
    'POST',
    '/freezes',
    {
      scope: 'tag',
      targets: ['env:prod'],
      reason: 'r',
      from: '2027-01-01T00:00:00Z',
      to: '2027-01-02T00:00:00Z',
      drain: true,
      cancelRunning: false,
      dryRun: true,
    },
  ],
  ['PATCH', `/freezes/${NO_FREEZE}`, { reason: 'r', to: '2027-01-01T00:00:00Z' }],
  [
    'POST',
    '/schedule/preview',
    {
      schedule: {
        calendar: [
          { at: ['09:00'], weekdays: ['mon'], nth: 'second', months: ['mar', 6] },
          { at: '08:00', businessDays: true, nth: [1, -1], holidays: ['2026-12-25'], weekend: ['sun'] },
          { at: '07:00', daysOfMonth: ['last', 3] },
        ],
        timezone: 'Europe/Berlin',
        dst: { gap: 'skip', repeat: 'both' },
        include: ['victim'],
        spread: '10m',
      },
      count: 20,
      from: '2026-03-01T00:00:00Z',
    },
  ],
  [
    'PATCH',
    '/jobs/victim',
    {
      schedule: { cron: '0 2 * * *', timezone: 'America/New_York', dst: { gap: 'skip' }, exclude: ['victim'] },
      expect: { everyAtMost: '26h' },
    },
  ],
];

/** Requests with an id or a name, or what is none, in every place of the path and in the query. */
export const requestsWith = (id: string): [string, string, unknown?][] => [
  ['GET', `/calendars/${id}`],
  ['PUT', `/calendars/${id}?dryRun=true`, { dates: ['12-24'] }],
  ['DELETE', `/calendars/${id}`],
  ['POST', `/calendars/${id}/ics`, {}],
  ['GET', `/calendars/${id}/days`],
  ['GET', `/calendars/${id}/versions`],
  ['GET', `/calendars/victim/versions/${id}`],
  ['GET', `/freezes/${id}`],
  ['PATCH', `/freezes/${id}`, { reason: 'r' }],
  ['DELETE', `/freezes/${id}`],
  ['POST', `/freezes/${id}/end`],
  ['GET', `/freezes?job=${id}`],
  ['GET', `/schedule/${id}/slots`],
  ['GET', `/slots?jobId=${id}`],
  ['POST', `/schedule/${id}/backfill`, { from: '2026-11-01T00:00:00Z', dryRun: true }],
  ['GET', `/backfills/${id}`],
  ['GET', `/backfills?job=${id}`],
  ['GET', `/bulk-operations/${id}/items`],
  ['POST', `/bulk-operations/${id}/abort`],
  ['GET', `/archives/${id}`],
  ['GET', `/archives/${id}/executions?jobId=${id}`],
  ['GET', `/jobs/victim/revisions/${id}/diff?against=${id}`],
  ['POST', `/jobs/victim/revisions/${id}/rollback?dryRun=true`],
  ['GET', `/executions?operationId=${id}`],
  ['GET', `/deliveries?job=${id}&channel=${id}`],
];

export const LISTS_OF_SLOTS: readonly string[] = [
  '/calendars',
  '/calendars/victim/days',
  '/calendars/victim/versions',
  '/freezes',
  '/slots',
  '/schedule/victim/slots',
  '/schedule/load',
  '/schedule/health',
  '/archives',
  '/backfills',
  '/bulk-operations',
  '/jobs/victim/revisions/1/diff',
];
