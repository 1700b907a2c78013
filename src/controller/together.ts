/** Several at a time, never all at once. */

/** Calls `work` for every item, at most `width` at a time; stops taking new items when the signal fires or `goOn` says no. Throws the first error after all under way ended. */
export async function together<Item>(
  items: readonly Item[],
  width: number,
  work: (item: Item) => Promise<unknown>,
  options: { signal?: AbortSignal; goOn?: () => boolean } = {},
): Promise<void> {
  let next = 0;
  const errors: unknown[] = [];
  const lane = async () => {
    while (next < items.length && errors.length === 0 && !options.signal?.aborted && (options.goOn?.() ?? true)) {
      const item = items[next++]!;
      await work(item).catch((error: unknown) => errors.push(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
  if (errors.length > 0) throw errors[0];
}
