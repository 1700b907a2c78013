/** Numbers that look random and are the same for the same seed, so that an order of kills can be repeated. */

export type Random = ReturnType<typeof createRandom>;

/** mulberry32: 32 bits of state, good enough to choose by. */
export function createRandom(seed: number) {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const between = (least: number, most: number): number => Math.floor(least + next() * (most - least + 1));
  return {
    /** A whole number, both ends included. */
    between,
    chance: (probability: number): boolean => next() < probability,
    pick: <T>(list: readonly T[]): T => list[between(0, list.length - 1)]!,
    shuffled: <T>(list: readonly T[]): T[] =>
      list
        .map((item) => ({ item, at: next() }))
        .sort((a, b) => a.at - b.at)
        .map(({ item }) => item),
  };
}
