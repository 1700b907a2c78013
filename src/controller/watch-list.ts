/**
 * Which of many things to ask about now: each rarely, all in turn, never more than a rate. The end of a workflow must be seen within 10 s, so every one is asked about
 * every 6 s while they are few; when there are more than the rate allows, each waits longer instead of the rate growing.
 */
const ASK_EVERY_MS = 6_000;
const MOST_PER_SECOND = 20;

export function createWatchList<Item>({ idOf, now = Date.now }: { idOf: (item: Item) => string; now?: () => number }) {
  const known = new Map<string, { item: Item; askAt: number }>();
  let lastAsked = now();

  return {
    /**
     * Takes in what there is to watch. New items are due at once.
     * @param options.whole the list is not cut off: what is missing from it is gone, and is returned.
     */
    see(items: Item[], { whole }: { whole: boolean }): Item[] {
      const ids = new Set<string>();
      for (const item of items) {
        const id = idOf(item);
        ids.add(id);
        if (!known.has(id)) known.set(id, { item, askAt: now() });
      }
      if (!whole) return [];
      const gone: Item[] = [];
      for (const [id, entry] of known) {
        if (ids.has(id)) continue;
        known.delete(id);
        gone.push(entry.item);
      }
      return gone;
    },

    /** The items to ask about now, longest waiting first; at most 20 for each second since the last time (2 s at most). They come again 6 s later. */
    due(): Item[] {
      const at = now();
      const most = Math.ceil((Math.min(at - lastAsked, 2_000) / 1_000) * MOST_PER_SECOND);
      lastAsked = at;
      const due = [...known.values()].filter((entry) => entry.askAt <= at).sort((a, b) => a.askAt - b.askAt);
      const taken = due.slice(0, most);
      for (const entry of taken) entry.askAt = at + ASK_EVERY_MS;
      return taken.map((entry) => entry.item);
    },
  };
}
