import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { after, before, test } from 'node:test';
import { brotliCompressSync, constants, deflateSync, gzipSync } from 'node:zlib';
import { createHttpTarget } from '../../../src/activities/targets/http-target.ts';
import type { HttpResult } from '../../../src/activities/targets/target-call.ts';
import { aCall, type Receiver, receiver } from './calls.ts';

const http = createHttpTarget({ allow: ['127.0.0.1'], deny: [] });
let answer: (response: ServerResponse) => void;
let server: Receiver;
before(async () => {
  server = await receiver((_request, response) => answer(response));
});
after(async () => {
  await http.close();
  await server.close();
});

async function bodyFor(headers: Record<string, string>, body: string | Buffer): Promise<HttpResult> {
  answer = (response) => response.writeHead(200, headers).end(body);
  return await kept();
}
async function kept(): Promise<HttpResult> {
  const outcome = await http.call({ url: server.url, method: 'GET' }, aCall());
  assert.equal(outcome.status, 'succeeded', JSON.stringify(outcome).slice(0, 300));
  return outcome.result as HttpResult;
}
const LIMIT = 64 * 1024;

test('64 KiB are kept whole, one byte more is cut and said', async () => {
  assert.deepEqual(pick(await bodyFor({}, 'x'.repeat(LIMIT))), { length: LIMIT, truncated: false });
  assert.deepEqual(pick(await bodyFor({}, 'x'.repeat(LIMIT + 1))), { length: LIMIT, truncated: true });
});

test('an endless body is read no further than what is kept', async () => {
  let sent = 0;
  answer = (response) => {
    const chunk = Buffer.alloc(64 * 1024, 'x');
    const more = () => {
      while (!response.destroyed && response.write(chunk)) sent += chunk.length;
    };
    response.on('drain', more);
    more();
  };
  const start = performance.now();
  assert.deepEqual(pick(await kept()), { length: LIMIT, truncated: true });
  assert.ok(performance.now() - start < 1_000);
  assert.ok(sent < 20 * 1024 * 1024, `${sent} bytes`);
});

for (const [encoding, encode] of [
  ['gzip', gzipSync],
  ['deflate', deflateSync],
  ['br', quickBrotli],
  ['X-Gzip', gzipSync],
] as const) {
  test(`${encoding} is decoded`, async () => {
    assert.equal((await bodyFor({ 'content-encoding': encoding }, encode('grüße'))).body, 'grüße');
  });
  test(`a ${encoding} bomb of 64 MiB is cut at 64 KiB`, async () => {
    const bomb = encode(Buffer.alloc(64 * 1024 * 1024));
    const before = process.memoryUsage().rss;
    assert.deepEqual(pick(await bodyFor({ 'content-encoding': encoding, 'content-type': 'text/plain' }, bomb)), {
      length: LIMIT,
      truncated: true,
    });
    assert.ok(process.memoryUsage().rss - before < 48 * 1024 * 1024);
  });
}

test('encodings in a row are decoded, the last first; a bomb within a bomb is cut', async () => {
  const twice = gzipSync(gzipSync('inner'));
  assert.equal((await bodyFor({ 'content-encoding': 'gzip, gzip' }, twice)).body, 'inner');
  assert.equal((await bodyFor({ 'content-encoding': 'br, gzip' }, gzipSync(brotliCompressSync('x')))).body, 'x');
  const bomb = gzipSync(gzipSync(Buffer.alloc(64 * 1024 * 1024, 'x')));
  assert.deepEqual(pick(await bodyFor({ 'content-encoding': 'gzip, gzip' }, bomb)), { length: LIMIT, truncated: true });
});

test('an encoded body that yields nothing for ever ends at 1 MiB of the wire', async () => {
  answer = (response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' });
    // A gzip header whose file name never ends.
    response.write(Buffer.from([0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3]));
    const chunk = Buffer.alloc(64 * 1024, 'n');
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on('drain', more);
    more();
  };
  assert.deepEqual(pick(await kept()), { length: 0, truncated: true });
});

test('an encoded body that breaks off keeps what could be decoded', async () => {
  const whole = gzipSync(Buffer.from('abc'.repeat(1_000)));
  assert.equal((await bodyFor({ 'content-encoding': 'gzip' }, whole.subarray(0, whole.length - 6))).truncated, true);
  assert.deepEqual(pick(await bodyFor({ 'content-encoding': 'gzip' }, 'no gzip at all')), { length: 0, truncated: true });
  assert.deepEqual(pick(await bodyFor({ 'content-encoding': 'gzip' }, '')), { length: 0, truncated: false });
});

test('an encoding nobody asked for is kept as bytes', async () => {
  const result = await bodyFor({ 'content-encoding': 'zstd' }, Buffer.from([0x28, 0xb5, 0x2f, 0xfd]));
  assert.deepEqual([result.body, result.base64, result.headers['content-encoding']], ['KLUv/Q==', true, 'zstd']);
});

test('HEAD and 204 have no body whatever their headers say', async () => {
  answer = (response) => response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': '999' }).end();
  const head = await http.call({ url: server.url, method: 'HEAD' }, aCall());
  assert.deepEqual(pick(head.result as HttpResult), { length: 0, truncated: false });
  answer = (response) => response.writeHead(204, { 'content-encoding': 'gzip' }).end();
  assert.deepEqual(pick(await kept()), { length: 0, truncated: false });
});

test('binary is base64 and says so; text in another charset is text', async () => {
  const png = await bodyFor({ 'content-type': 'image/png' }, Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1]));
  assert.deepEqual([png.body, png.base64], ['iVBORwAB', true]);
  assert.equal((await bodyFor({ 'content-type': 'text/plain; charset=ISO-8859-1' }, Buffer.from([0x67, 0xfc]))).body, 'gü');
  assert.equal((await bodyFor({ 'content-type': 'text/plain; charset=nonsense' }, 'plain')).body, 'plain');
});

test('NUL in a text is replaced and said; without a type it makes the body binary', async () => {
  const text = await bodyFor({ 'content-type': 'application/json' }, '"a\0b"');
  assert.deepEqual([text.body, text.replaced], ['"a\ufffdb"', true]);
  assert.equal((await bodyFor({}, 'a\0b')).base64, true);
});

test('a body cut inside a character is still text', async () => {
  const result = await bodyFor({ 'content-type': 'text/plain' }, `x${'é'.repeat(LIMIT)}`);
  assert.deepEqual([result.base64, result.truncated, result.body.at(-1)], [undefined, true, 'é']);
});

/** The best quality takes 4 s for a bomb. */
function quickBrotli(text: string | Buffer): Buffer {
  return brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 2 } });
}
const pick = ({ body, truncated }: HttpResult) => ({ length: body.length, truncated });
