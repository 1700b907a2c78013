/** The README's story: the `sh` blocks that an HTML comment marks as part of it, in order. */

/** @returns the commands of each block after `<!-- story -->`. @throws when a mark is not followed by a block. */
export function storyOf(markdown: string): string[] {
  const marks = markdown.split('<!-- story -->').slice(1);
  return marks.map((text, index) => {
    const block = /^\s*```sh\n([\s\S]*?)\n```/.exec(text)?.[1];
    if (block === undefined) throw new Error(`story mark ${index + 1} is not followed by a sh block`);
    return block;
  });
}
