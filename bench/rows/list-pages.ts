/** The pages that `list` asks for: each in both sides' words, found by walking the lists, compared item by item while walking. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Almanac } from '../stack/almanac.ts';

/** `ms`: how long ours took when it was asked for alone. */
export type PagePair = { ours: string; bare: string; ms: number };

/** Filters and sorts with the number of pages to walk. */
const WALKS: [filter: string, pages: number][] = [
  ['sort=name', 60],
  ['sort=-name', 20],
  ['sort=createdAt', 20],
  ['sort=-createdAt', 40],
  ['sort=nextRunAt', 40],
  ['sort=name&category=reports', 10],
  ['sort=name&priority=1', 10],
  ['sort=-createdAt&category=mail&priority=3', 5],
  ['sort=name&tag=env:prod', 10],
  ['sort=name&state=active', 10],
  ['sort=-createdAt&lastOutcome=failed', 5],
  ['sort=name&q=books-004', 5],
];
const LIMIT = 50;

/** The address of the bare server, once it listens. */
export async function bareOrigin(child: ChildProcess): Promise<string> {
  const [message] = (await once(child, 'message')) as [{ port: number }];
  return `http://127.0.0.1:${message.port}`;
}

/** @throws when the two sides do not answer a page with the same items. */
export async function pairsOfPages(almanac: Almanac, bare: string): Promise<PagePair[]> {
  const pairs: PagePair[] = [];
  for (const [filter, pages] of WALKS) {
    let cursors: { ours: string; bare: string } | null = { ours: '', bare: '' };
    for (let page = 0; page < pages && cursors; page += 1) {
      const pair: PagePair = {
        ours: `/api/v1/jobs?${filter}&limit=${LIMIT}${cursors.ours}`,
        bare: `/jobs?${filter}&limit=${LIMIT}${cursors.bare}`,
        ms: 0,
      };
      const theirs = await pageOf(bare + pair.bare, almanac.headers);
      const from = performance.now();
      const ours = await pageOf(almanac.origin + pair.ours, almanac.headers);
      pair.ms = performance.now() - from;
      if (ours.items !== theirs.items)
        throw new Error(`the two sides differ on ${pair.ours}:\n${ours.items.slice(0, 600)}\n${theirs.items.slice(0, 600)}`);
      if (ours.count !== LIMIT) break;
      pairs.push(pair);
      cursors = ours.next && theirs.next ? { ours: `&cursor=${encodeURIComponent(ours.next)}`, bare: `&${theirs.next}` } : null;
    }
  }
  return shuffled(pairs);
}

async function pageOf(url: string, headers: Record<string, string>): Promise<{ items: string; count: number; next: string | null }> {
  const answer = await fetch(url, { headers });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`GET ${url}: ${answer.status} ${text.slice(0, 500)}`);
  const { items, nextCursor } = JSON.parse(text) as { items: unknown[]; nextCursor: string | null };
  return { items: JSON.stringify(items), count: items.length, next: nextCursor };
}

/** The same order every time: figures of two runs are compared. */
function shuffled<T>(items: T[]): T[] {
  let seed = 1;
  return items
    .map((item) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return { item, key: seed };
    })
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}
