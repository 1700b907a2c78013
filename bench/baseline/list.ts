/**
 * Baseline of `list`: bare Express 5 and `pg`. The SELECT is ours, letter by letter, and so are columns, bytes and gzip level; no authentication,
 * no validation, no limits, no log. What a person would tune is tuned: no ETag, no x-powered-by, the simple query parser, prepared statements, keep-alive.
 */
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import express from 'express';
import pg from 'pg';
import { type JobSort, jobsListStatement } from '../../src/jobs/jobs-list.ts';

const compress = promisify(gzip);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });
const names = new Map<string, string>();

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.get('/jobs', async (request, response) => {
  const { sort, limit, priority, tag, afterValue, afterId, ...filters } = request.query as Record<string, string>;
  const { text, values } = jobsListStatement('default', {
    ...filters,
    sort: (sort ?? 'name') as JobSort,
    limit: Number(limit),
    ...(priority ? { priority: Number(priority) } : {}),
    ...(tag ? { tag: [tag] } : {}),
    ...(afterId ? { after: { value: afterValue ?? null, id: afterId } } : {}),
  });
  if (!names.has(text)) names.set(text, `list-${names.size}`);
  const { rows } = await pool.query<{ item: string; value: string | null; id: string }>({ name: names.get(text)!, text, values });
  const items = rows.slice(0, Number(limit));
  const last = rows.length > items.length ? items.at(-1)! : null;
  const next = last && new URLSearchParams({ ...(last.value === null ? {} : { afterValue: last.value }), afterId: last.id }).toString();
  const body = Buffer.from(`{"items":[${items.map((row) => row.item).join(',')}],"nextCursor":${JSON.stringify(next)}}`);
  const bytes = request.headers['accept-encoding'] === 'gzip' ? await compress(body, { level: 6 }) : body;
  if (bytes !== body) response.setHeader('Content-Encoding', 'gzip');
  response.setHeader('Content-Type', 'application/json; charset=utf-8');
  response.setHeader('Content-Length', bytes.length);
  response.end(bytes);
});

const server = app.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
server.keepAliveTimeout = 30_000;
process.once('disconnect', () => process.exit());
