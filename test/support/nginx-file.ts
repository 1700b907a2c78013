/** Reads nginx configuration: directives with their values and blocks, as far as our own files go. */

export type Directive = { name: string; values: string[]; block?: Directive[] };

const TOKEN = /#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{};]|[^\s{};"'#]+/g;

/** @throws when a directive has no semicolon, or a brace has no partner. */
export function parseNginx(text: string): Directive[] {
  const tokens = [...text.matchAll(TOKEN)].map(([token]) => token).filter((token) => !token.startsWith('#'));
  const readBlock = (depth: number): Directive[] => {
    const directives: Directive[] = [];
    let words: string[] = [];
    for (let token = tokens.shift(); token !== undefined; token = tokens.shift()) {
      const [name = '', ...values] = words;
      if (token === ';' || token === '{') {
        if (name === '') throw new Error(`a directive without a name before ${token}`);
        directives.push(token === ';' ? { name, values } : { name, values, block: readBlock(depth + 1) });
        words = [];
      } else if (token === '}') {
        if (words.length > 0) throw new Error(`no semicolon after ${words.join(' ')}`);
        if (depth === 0) throw new Error('a } too many');
        return directives;
      } else words.push(/^['"]/.test(token) ? token.slice(1, -1) : token);
    }
    if (depth > 0 || words.length > 0) throw new Error(depth > 0 ? 'a { is not closed' : `no semicolon after ${words.join(' ')}`);
    return directives;
  };
  return readBlock(0);
}

/** The values of every directive of this name, wherever it stands. */
export const valuesOf = (directives: Directive[], wanted: string): string[][] =>
  directives.flatMap(({ name, values, block }) => [...(name === wanted ? [values] : []), ...(block ? valuesOf(block, wanted) : [])]);

/** The values of every directive of this name in this block itself, not in blocks inside it. */
export const ownValuesOf = (directives: Directive[], wanted: string): string[][] =>
  directives.filter(({ name }) => name === wanted).map(({ values }) => values);
