import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ChannelDocument } from '../../../src/jobs/notifications/channel-document.ts';
import { headline, type Message } from '../../../src/jobs/notifications/message.ts';
import { reasonOf } from '../../../src/jobs/notifications/reasons.ts';
import { slackText } from '../../../src/jobs/notifications/send-slack.ts';
import { ESCAPES, LONGEST_TEMPLATE, renderText, templateProblem, viewOf } from '../../../src/jobs/notifications/templates.ts';

const job = (name: string, reason: string | null = null) => ({
  id: 'job_1',
  name,
  at: '2026-01-01T00:00:00.000Z',
  slot: null,
  execution: null,
  reason,
  link: '/api/v1/jobs/job_1',
});
const message = (more: Partial<Message> = {}): Message => ({
  kind: 'failed',
  team: 'default',
  channel: 'ops',
  from: '2026-01-01T00:00:00.000Z',
  to: '2026-01-01T00:00:01.000Z',
  events: 1,
  jobCount: 1,
  jobs: [job('nightly')],
  link: '/api/v1/executions?status=failed',
  ...more,
});

describe('a template', () => {
  test('knows the names it is told of, and nothing of the program behind them', () => {
    for (const good of [
      '{{headline}}',
      '{{#jobs}}{{name}}: {{reason}}{{/jobs}}',
      '{{job.name}}',
      '{{^more}}all{{/more}}',
      '{{! a comment }}',
      '',
    ])
      assert.equal(templateProblem(good), null, good);
    for (const bad of ['{{constructor}}', '{{__proto__}}', '{{jobs.constructor}}', '{{name}}', '{{.}}', '{{#jobs}}{{toString}}{{/jobs}}'])
      assert.match(templateProblem(bad) ?? '', /did you mean/, bad);
    assert.match(templateProblem('{{headlin}}') ?? '', /did you mean "headline"/);
  });

  test('has no raw values, no partials, no lists within themselves, and an end', () => {
    assert.match(templateProblem('{{{headline}}}') ?? '', /always escaped/);
    assert.match(templateProblem('{{&headline}}') ?? '', /always escaped/);
    assert.match(templateProblem('{{>other}}') ?? '', /partials/);
    assert.match(templateProblem('{{=<% %>=}}<% headline %>') ?? '', /delimiters/);
    assert.match(templateProblem('{{#jobs}}{{#jobs}}x{{/jobs}}{{/jobs}}') ?? '', /within/);
    assert.match(templateProblem('{{#jobs}}') ?? '', /not a template/);
    assert.match(templateProblem('x'.repeat(LONGEST_TEMPLATE + 1)) ?? '', /at most/);
    assert.match(templateProblem('{{#more}}'.repeat(7) + '{{/more}}'.repeat(7)) ?? '', /deep/);
  });

  test('writes values so that they stay values', () => {
    const view = viewOf(message({ jobs: [job('<a> & "b"')] }), '');
    assert.equal(renderText('{{job.name}}', view, ESCAPES.text), '<a> & "b"');
    assert.equal(renderText('{{job.name}}', view, ESCAPES.html), '&lt;a&gt; &amp; &quot;b&quot;');
    assert.equal(renderText('{{job.name}}', view, ESCAPES.slack), '&lt;a&gt; &amp; "b"');
    assert.equal(renderText('[{{job.slot}}{{constructor}}]', view, ESCAPES.text), '[]');
  });
});

describe('a message', () => {
  test('has a sentence for one job and for many of every kind', () => {
    assert.equal(headline(message()), 'nightly failed');
    assert.equal(headline(message({ jobCount: 37 })), '37 jobs failed');
    assert.equal(headline(message({ kind: 'missed' })), 'nightly has missed a run');
    assert.equal(headline(message({ kind: 'test', jobs: [], jobCount: 0 })), 'This is a test of the channel ops');
  });

  test('says why, in whichever form an event tells it, and never fails on one', () => {
    assert.equal(reasonOf('failed', { error: { message: 'boom' }, reason: 'x' }), 'boom');
    assert.equal(reasonOf('paused', { reason: 'by hand' }), 'by hand');
    assert.equal(reasonOf('missed', { kind: 'expect', everyAtMostMs: 93_600_000 }), 'no success for more than 1d2h');
    assert.equal(reasonOf('recovered', { failures: 2 }), 'after 2 failures');
    assert.match(reasonOf('interval_health', { p95Ms: 50_000, intervalMs: 60_000 }) ?? '', /50s.*1m/);
    for (const odd of [null, 3, 'x', [], {}, { error: 7 }, { reason: { a: 1 } }, { everyAtMostMs: 'x' }])
      assert.equal(reasonOf('failed', odd), null);
    assert.equal(reasonOf('missed', { everyAtMostMs: 1e300 }), 'no success for more than 1e+300 ms');
    assert.ok(reasonOf('failed', { reason: 'x'.repeat(9_999) })!.length <= 500);
  });

  test('in Slack mentions nobody, and has links only where there is a base for them', () => {
    const channel = { type: 'slack', name: 'ops', url: 'https://example.com', groupWindow: '5s' } satisfies ChannelDocument;
    const outgoing = { id: 'dlv_1', channel, message: message({ jobs: [job('<!channel> x', 'a < b')] }), dedupKey: null, resolveKeys: [] };
    const text = slackText(outgoing, 'https://almanac.example');
    assert.ok(!text.includes('<!channel>') && text.includes('&lt;!channel&gt;') && text.includes('a &lt; b'));
    assert.ok(text.includes('<https://almanac.example/api/v1/jobs/job_1|'));
    assert.ok(!slackText(outgoing, '').includes('|'));
  });
});
