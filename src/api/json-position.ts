/** Where a text stops being JSON (RFC 8259). Only asked once `JSON.parse` has refused it: V8's messages often leave the position out. */

const SPACE = /[ \t\n\r]*/y;
const STRING_SO_FAR = /"(?:[^"\\\p{Cc}]|[\x7f-\x9f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*/uy;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])|(?:true|false|null)(?!\w)/y;

type Expected = 'value' | 'value or ]' | 'key' | 'key or }' | ':' | 'rest' | 'end';

/** Index of the first character that can't stand there; the text's length when it ends too early. */
export function jsonErrorPosition(text: string): number {
  const open: ('[' | '{')[] = [];
  let at = 0;
  let expected: Expected = 'value';
  const afterValue = (): Expected => (open.length === 0 ? 'end' : 'rest');
  const match = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return false;
    at = pattern.lastIndex;
    return true;
  };
  const string = (): boolean => match(STRING_SO_FAR) && text[at] === '"' && ++at > 0;

  for (;;) {
    match(SPACE);
    const next = text[at];
    if (next === undefined || expected === 'end') return at;
    if (next === ']' && open.at(-1) === '[' && (expected === 'value or ]' || expected === 'rest')) {
      open.pop();
      at++;
      expected = afterValue();
    } else if (next === '}' && open.at(-1) === '{' && (expected === 'key or }' || expected === 'rest')) {
      open.pop();
      at++;
      expected = afterValue();
    } else if (expected === 'rest') {
      if (next !== ',') return at;
      at++;
      expected = open.at(-1) === '[' ? 'value' : 'key';
    } else if (expected === ':') {
      if (next !== ':') return at;
      at++;
      expected = 'value';
    } else if (expected === 'key' || expected === 'key or }') {
      if (!string()) return at;
      expected = ':';
    } else if (next === '[' || next === '{') {
      open.push(next);
      at++;
      expected = next === '[' ? 'value or ]' : 'key or }';
    } else {
      if (!(next === '"' ? string() : match(SCALAR))) return at;
      expected = afterValue();
    }
  }
}
