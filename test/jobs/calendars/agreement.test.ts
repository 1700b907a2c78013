import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createCalendars } from '../../../src/jobs/calendars/calendars.ts';
import { isStopped, stopRules } from '../../../src/jobs/calendars/slot-filter.ts';
import { ASYNC, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, rows } from '../jobs-under-test.ts';

let it: JobsUnderTest;
before(async () => {
  it = await jobsUnderTest();
});
after(() => it.close());

const DAY_MS = 86_400_000;
const dayAhead = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10);
const CALENDARS = [
  { name: 'holidays', holidays: [{ country: 'DE', region: 'BY' }, { country: 'US' }] },
  {
    name: 'hours',
    weekly: [
      { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '08:00', to: '18:00' },
      { days: ['fri'], from: '22:00', to: '03:00' },
    ],
  },
  { name: 'single', dates: [dayAhead(20), dayAhead(21), '03-29', '10-25'], ranges: [{ from: `${dayAhead(40)}T09:30`, to: dayAhead(44) }] },
  {
    name: 'file',
    ics: 'BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;TZID=America/New_York:20260105T170000\r\nDURATION:PT5H\r\nRRULE:FREQ=WEEKLY;BYDAY=MO,TH\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n',
  },
];
const USES = [
  { exclude: ['holidays', 'file'] },
  { include: ['hours'] },
  { include: ['hours', 'single'], exclude: ['file', 'holidays'] },
  { include: ['file', 'single'], exclude: ['single'] },
];
const ZONES = ['UTC', 'Europe/Berlin', 'America/Santiago', 'Australia/Lord_Howe', 'Pacific/Kiritimati'];

test('what people are shown and what admit decides is the same, at every edge, in every zone', async () => {
  const calendars = createCalendars({ pool: it.pool });
  for (const calendar of CALENDARS) await calendars.create(CALLER, calendar);
  let edges = 0;
  for (const zone of ZONES) {
    for (const [nth, use] of USES.entries()) {
      const schedule = { cron: '0 12 * * *', timezone: zone, ...use };
      await it.jobs.create(CALLER, { name: `${zone} ${nth}`, schedule, target: HTTP_TARGET }, ASYNC);
      const from = new Date();
      const rules = await stopRules(it.pool, 'default', schedule, from);
      const sides = [...(rules!.include ?? []), ...rules!.exclude].flatMap(({ spans }) =>
        spans.flatMap(({ fromS, toS }) => [fromS - 1, fromS, toS - 1, toS]),
      );
      const moments = [...new Set(sides)]
        .map((atS) => new Date(atS * 1_000))
        .filter((at) => at > from && at.getTime() < from.getTime() + 400 * DAY_MS);
      const decided = await rows<{ at: Date; calendar: string | null }>(
        it.pool,
        `SELECT m.at, (s.stop).calendar FROM unnest($1::timestamptz[]) WITH ORDINALITY AS m (at, nth)
           CROSS JOIN LATERAL (SELECT calendar_stop('default', $2, $3, $4, m.at) AS stop OFFSET 0) s ORDER BY m.nth`,
        moments,
        use.include ?? null,
        use.exclude ?? null,
        zone,
      );
      const shown = moments.map((at) => isStopped(at, rules)?.calendar ?? null);
      assert.deepEqual(
        decided.map(({ calendar }) => calendar),
        shown,
        `${zone} ${JSON.stringify(use)}`,
      );
      edges += moments.length;
    }
  }
  assert.ok(edges > 10_000, `${edges} edges`);
});
