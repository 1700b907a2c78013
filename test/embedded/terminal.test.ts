/** What `npm start` shows of what its processes log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { exampleCommand } from '../../src/embedded/summary.ts';
import { createTerminal } from '../../src/embedded/terminal.ts';
import { createLog } from '../../src/log.ts';

function terminal(pretty: boolean) {
  const written: string[] = [];
  let time = Date.parse('2026-11-21T10:00:00Z');
  const made = createTerminal({
    pretty,
    log: createLog('test', 'silent'),
    write: (text) => written.push(stripVTControlCharacters(text)),
    now: () => time,
  });
  return { ...made, written, later: () => (time += 1_000) };
}
const finished = (jobName: string, status = 'succeeded') =>
  JSON.stringify({ level: 'info', process: 'worker', jobName, status, durationMs: 12, msg: 'execution finished' });

test('an execution is one line with name, status and milliseconds', () => {
  const { line, written } = terminal(true);
  line('worker', finished('nightly'));
  line('worker', finished('broken', 'failed'));
  assert.match(written[0]!, /✓ nightly succeeded 12 ms\n$/);
  assert.match(written[1]!, /✗ broken failed 12 ms\n$/);
});

test('without a terminal an execution is passed on as the JSON it is', () => {
  const { line, written } = terminal(false);
  line('worker', finished('nightly'));
  assert.equal(written[0], `${finished('nightly')}\n`);
});

test('the fiftieth execution of a second is shown, the fifty-first counted', () => {
  const { line, written, later } = terminal(true);
  for (let count = 0; count < 51; count += 1) line('worker', finished('busy'));
  assert.equal(written.length, 50);
  later();
  line('worker', finished('busy'));
  assert.match(written[50]!, /1 more executions in that second/);
  assert.equal(written.length, 52);
});

test('what is only for the log files stays there; warnings and cries do not', () => {
  const { line, written } = terminal(true);
  line('api', JSON.stringify({ level: 'info', msg: 'request' }));
  line('api', JSON.stringify({ level: 'warn', msg: 'slow', error: 'why' }));
  line('api', 'Segmentation fault');
  assert.equal(written.length, 2);
  assert.match(written[0]!, /! api: slow \(why\)/);
  assert.match(written[1]!, /! api: Segmentation fault/);
});

test('the command to paste reads the key from its file, whatever the folder is called', () => {
  const command = exampleCommand({ apiUrl: 'http://127.0.0.1:8080', keyFile: "/home/o'neill/my data/admin-key" });
  assert.ok(command.includes(`$(cat '/home/o'\\''neill/my data/admin-key')`));
  assert.ok(!command.includes('\n'));
});
