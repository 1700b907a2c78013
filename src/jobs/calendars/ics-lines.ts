/** The lines of an iCalendar text as the parts they make (RFC 5545, section 3.1), and back. What a value means is no business of this file. */
import { IcsProblem } from './ics-problem.ts';

/** Names are in capitals. The value is as it stands in the text, with its escapes. */
export type IcsProperty = { name: string; parameters: ReadonlyMap<string, string>; value: string };
/** VCALENDAR, VEVENT, VTIMEZONE and what else stands between BEGIN and END. */
export type IcsPart = { name: string; properties: IcsProperty[]; parts: IcsPart[] };

const LINE_END = /\r\n|\r|\n/;
const FOLD = /(?:\r\n|\r|\n)[ \t]/g;
const LONGEST_LINE_BYTES = 75;

/** The calendars of a text. @throws IcsProblem when lines or parts are broken, or there is no calendar. */
export function readCalendars(text: string): IcsPart[] {
  const outside: IcsPart = { name: '', properties: [], parts: [] };
  const open = [outside];
  for (const line of text
    .replace(/^\uFEFF/, '')
    .replace(FOLD, '')
    .split(LINE_END)) {
    if (line.trim() === '') continue;
    const property = readLine(line);
    const part = open.at(-1)!;
    const named = property.value.trim().toUpperCase();
    if (property.name === 'BEGIN') {
      const inner: IcsPart = { name: named, properties: [], parts: [] };
      part.parts.push(inner);
      open.push(inner);
    } else if (property.name === 'END' && part !== outside && part.name === named) {
      open.pop();
    } else if (property.name === 'END' || part === outside) {
      throw broken(`the line ${shown(line)} is in the wrong place`);
    } else part.properties.push(property);
  }
  if (open.length > 1) throw broken(`${shown(open.at(-1)!.name)} did not end`);
  const calendars = outside.parts.filter((part) => part.name === 'VCALENDAR');
  if (calendars.length === 0) throw new IcsProblem('holds no VCALENDAR; export it again, it begins with BEGIN:VCALENDAR');
  return calendars;
}

const shown = (text: string): string => JSON.stringify(text.slice(0, 60));
const broken = (what: string): IcsProblem =>
  new IcsProblem(`is not an iCalendar text: ${what}; export it again, it begins with BEGIN:VCALENDAR`);

/** Name, parameters and value. What stands in quotes is one thing: Exchange names zones "(UTC+01:00) Amsterdam; Berlin". */
function readLine(line: string): IcsProperty {
  const pieces: string[] = [];
  let isQuoted = false;
  let from = 0;
  for (let at = 0; at < line.length; at += 1) {
    const sign = line[at];
    if (sign === '"') isQuoted = !isQuoted;
    if (isQuoted || (sign !== ';' && sign !== ':')) continue;
    pieces.push(line.slice(from, at));
    from = at + 1;
    if (sign === ':') break;
  }
  const [name = '', ...parameters] = pieces;
  if (line[from - 1] !== ':' || !/^[\w-]+$/.test(name)) throw broken(`the line ${shown(line)} has no name or no value`);
  return { name: name.toUpperCase(), parameters: new Map(parameters.map(readParameter)), value: line.slice(from) };
}

function readParameter(text: string): [string, string] {
  const [name = '', ...value] = text.split('=');
  return [name.trim().toUpperCase(), value.join('=').replace(/^"(.*)"$/, '$1')];
}

/** A part as a text that reads as the same part. */
export const writtenPart = (part: IcsPart): string => linesOf(part).map(folded).join('\r\n');

const linesOf = (part: IcsPart): string[] => [
  `BEGIN:${part.name}`,
  ...part.properties.map(writtenProperty),
  ...part.parts.flatMap(linesOf),
  `END:${part.name}`,
];

const writtenProperty = ({ name, parameters, value }: IcsProperty): string =>
  `${[name, ...[...parameters].map(([key, text]) => `${key}=${/[:;,]/.test(text) ? `"${text}"` : text}`)].join(';')}:${value}`;

/** No line is longer than 75 bytes, and no character is cut. */
function folded(line: string): string {
  if (line.length * 3 <= LONGEST_LINE_BYTES) return line;
  let text = '';
  let bytes = 0;
  for (const sign of line) {
    const size = Buffer.byteLength(sign);
    if (bytes + size > LONGEST_LINE_BYTES) {
      text += '\r\n ';
      bytes = 1;
    }
    text += sign;
    bytes += size;
  }
  return text;
}

/** The properties of this name, in capitals. */
export const propertiesOf = (part: IcsPart, name: string): IcsProperty[] => part.properties.filter((property) => property.name === name);
export const propertyOf = (part: IcsPart, name: string): IcsProperty | undefined =>
  part.properties.find((property) => property.name === name);
/** The value of the first property of this name. */
export const textOf = (part: IcsPart, name: string): string | undefined => propertyOf(part, name)?.value.trim();
export const partsOf = (part: IcsPart, name: string): IcsPart[] => part.parts.filter((inner) => inner.name === name);
