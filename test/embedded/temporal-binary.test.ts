/** The ways to a `temporal` command, each with the earlier ones closed. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { findTemporal, TEMPORAL_VERSION, TemporalMissingError } from '../../src/embedded/temporal-binary.ts';

/** Answers as the real command does when it is asked for its version. */
const COMMAND = '#!/bin/sh\necho "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)"\n';
/** No `temporal` and no `go` in there, but the shell and `tar`. */
const tools = mkdtempSync(path.join(tmpdir(), 'almanac-tools-'));
for (const tool of ['sh', 'tar', 'gzip', 'chmod']) {
  symlinkSync(execFileSync('/bin/sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim(), path.join(tools, tool));
}

let folder: string;
let archive: Buffer | null;
let requests: string[];
let server: Server;
let download: string;
let said: string[];

before(async () => {
  server = createServer((request, response) => {
    requests.push(request.url ?? '');
    if (archive) response.writeHead(200, { 'content-length': archive.length }).end(archive);
    else response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  download = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
});
after(() => {
  server.close();
  rmSync(tools, { recursive: true });
});
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'almanac-temporal-'));
  archive = null;
  requests = [];
  said = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

const cache = () => path.join(folder, 'almanac');
const cached = () => path.join(cache(), `temporal-${TEMPORAL_VERSION}-${process.platform}-${process.arch}`);
const find = (paths: string[] = [tools]) =>
  findTemporal({
    environment: { PATH: paths.join(path.delimiter), XDG_CACHE_HOME: folder, HOME: folder },
    progress: (sentence) => said.push(sentence),
    download,
    goFolders: [],
  });
function put(file: string, text: string): string {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
  chmodSync(file, 0o755);
  return file;
}
function pack(text: string): Buffer {
  put(path.join(folder, 'packed', 'temporal'), text);
  return execFileSync('tar', ['-czf', '-', '-C', path.join(folder, 'packed'), 'temporal']);
}

test('the one on PATH comes first, and nothing is fetched', async () => {
  put(cached(), COMMAND);
  const onPath = put(path.join(folder, 'bin', 'temporal'), COMMAND);
  assert.equal(await find([path.dirname(onPath), tools]), onPath);
  assert.deepEqual(requests, []);
});

test('another program of that name on PATH is passed over', async () => {
  put(cached(), COMMAND);
  const other = put(path.join(folder, 'bin', 'temporal'), '#!/bin/sh\necho "a clock"\n');
  assert.equal(await find([path.dirname(other), tools]), cached());
});

test('the official download comes before building, and is kept', async () => {
  archive = pack(COMMAND);
  assert.equal(await find(), cached());
  assert.match(requests[0]!, new RegExp(`^/v${TEMPORAL_VERSION}\\?platform=\\w+&arch=\\w+$`));
  assert.equal(await find(), cached());
  assert.equal(requests.length, 1);
  assert.deepEqual(readdirSync(cache()), [path.basename(cached())]);
});

test('two at once fetch it once', async () => {
  archive = pack(COMMAND);
  assert.deepEqual(await Promise.all([find(), find()]), [cached(), cached()]);
  assert.equal(requests.length, 1);
  assert.ok(said.some((sentence) => sentence.includes('waiting')));
});

test('without a download Go builds it into the cache, with progress', async () => {
  const go = put(
    path.join(folder, 'go', 'go'),
    `#!/bin/sh\necho "$@" > "$GOBIN/../asked"\nprintf '${COMMAND.replaceAll('\n', '\\n')}' > "$GOBIN/temporal"\nchmod 755 "$GOBIN/temporal"\n`,
  );
  assert.equal(await find([path.dirname(go), tools]), cached());
  assert.equal(
    readFileSync(path.join(cache(), 'asked'), 'utf8').trim(),
    `install github.com/temporalio/cli/cmd/temporal@v${TEMPORAL_VERSION}`,
  );
  assert.ok(said.some((sentence) => sentence.startsWith('Building')));
});

test('a download that is not what it should be is not kept', async () => {
  archive = pack('#!/bin/sh\nexit 1\n');
  await assert.rejects(find(), TemporalMissingError);
  assert.equal(existsSync(cached()), false);
  assert.deepEqual(readdirSync(cache()), []);
});

test('when nothing helps, one error names the four ways and what became of each', async () => {
  await assert.rejects(find(), (error: Error) => {
    assert.ok(error instanceof TemporalMissingError);
    for (const word of ['TEMPORAL_ADDRESS', 'PATH', 'https://temporal.download', 'go install', 'answers 404', 'no `go`']) {
      assert.ok(error.message.includes(word), word);
    }
    return true;
  });
});
