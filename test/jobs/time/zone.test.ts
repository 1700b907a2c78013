import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalZone, searchedChanges, zoneOf } from '../../../src/jobs/time/zone.ts';
import { ODD_ZONES } from './timing-arbitrary.ts';

const seconds = (iso: string) => Date.parse(iso) / 1_000;

test('a zone has its offset on both sides of a change', () => {
  const berlin = zoneOf('Europe/Berlin');
  const change = seconds('2026-03-29T01:00:00Z');
  assert.deepEqual([berlin.offsetAt(change - 1), berlin.offsetAt(change)], [3_600, 7_200]);
  assert.deepEqual(berlin.changes(change - 1, change), [{ at: change, before: 3_600, after: 7_200 }]);
  assert.deepEqual(berlin.changes(change, change + 1), []);
  assert.deepEqual(
    [berlin.isSteady(change - 10, change - 1), berlin.isSteady(change - 1, change), berlin.isSteady(change, change + 10)],
    [true, false, true],
  );
});

test('offsets agree with Intl at any time, also in odd zones', () => {
  for (const name of ODD_ZONES) {
    const format = new Intl.DateTimeFormat('en-US', { timeZone: name, timeZoneName: 'longOffset' });
    for (let at = seconds('1980-01-01T00:00:00Z'); at < seconds('2100-01-01T00:00:00Z'); at += 5_000_011) {
      const offset = zoneOf(name).offsetAt(at);
      const text = `${offset < 0 ? '-' : '+'}${new Date(Math.abs(offset) * 1_000).toISOString().slice(11, 16)}`;
      assert.match(
        format.format(at * 1_000),
        offset === 0 ? /(GMT(\+00:00)?|UTC)$/ : new RegExp(`GMT\\${text}$`),
        `${name} ${at}: ${offset}`,
      );
    }
  }
});

test('the search by Intl finds the same changes as native Temporal', () => {
  for (const name of ODD_ZONES.slice(0, 8)) {
    const end = seconds('2101-01-01T00:00:00Z');
    assert.deepEqual(
      searchedChanges(name).filter((change) => change.at <= end),
      zoneOf(name).changes(0, end),
      name,
    );
  }
});

test('a zone has one spelling', () => {
  assert.deepEqual(['EUROPE/berlin', 'utc', 'Etc/UTC', 'GMT', 'asia/kolkata', '+01:00', 'Mars/Olympus', ''].map(canonicalZone), [
    'Europe/Berlin',
    'UTC',
    'UTC',
    'UTC',
    'Asia/Kolkata',
    null,
    null,
    null,
  ]); // prettier-ignore
});
