/**
 * Texts of messages, by templates without logic (Mustache): names of a known list, sections, nothing that runs. Values are escaped for where they go. What a
 * person may write is checked when it is saved: known names only, so that no template can reach into the program, and lists not within lists, so that
 * none grows beyond reason.
 */
import Mustache from 'mustache';
import { nearest } from '../job-issues.ts';
import { headline, type Message } from './message.ts';

export const LONGEST_TEMPLATE = 10_000;
const DEEPEST = 5;

const TOP = ['kind', 'headline', 'events', 'jobCount', 'more', 'team', 'channel', 'from', 'to', 'url', 'job', 'jobs'] as const;
const OF_JOB = ['id', 'name', 'at', 'slot', 'execution', 'reason', 'url'] as const;
const KNOWN: string[] = [...TOP, ...OF_JOB.map((name) => `job.${name}`)];

/** How values are written into a text, so that they stay values. */
export const ESCAPES = {
  text: (value: unknown) => String(value),
  html: (value: unknown) => Mustache.escape(String(value)),
  /** Slack's own rule for the three characters it reads (https://api.slack.com/reference/surfaces/formatting#escaping). */
  slack: (value: unknown) => String(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;'),
} as const;

type Token = [type: string, value: string, start: number, end: number, children?: Token[]];

/** A writer that remembers no templates: what anybody sends would stay for ever. */
function newWriter(): Mustache.Writer {
  const writer = new Mustache.Writer() as Mustache.Writer & { templateCache?: unknown };
  writer.templateCache = undefined;
  return writer;
}
const writer = newWriter();

/** What is wrong with a template that a person has written, or null. */
export function templateProblem(template: string): string | null {
  if (template.length > LONGEST_TEMPLATE) return `has ${template.length} characters; at most ${LONGEST_TEMPLATE}`;
  try {
    return tokensProblem(writer.parse(template) as Token[], [], 0);
  } catch (error) {
    return `is not a template: ${(error as Error).message}; write names as {{headline}}`;
  }
}

function tokensProblem(tokens: readonly Token[], within: readonly string[], depth: number): string | null {
  if (depth > DEEPEST) return `has sections more than ${DEEPEST} deep`;
  for (const [type, name, , , children] of tokens) {
    if (type === 'text' || type === '!') continue;
    if (type === '&' || type === '{') return `must not hold {{{${name}}}} or {{&${name}}}: values are always escaped; write {{${name}}}`;
    if (type === '>' || type === '=') return 'must not hold partials ({{>…}}) or other delimiters ({{=…=}})';
    const known: string[] = within.includes('jobs') || within.includes('job') ? [...KNOWN, ...OF_JOB] : KNOWN;
    if (!known.includes(name)) return `names ${nearest(name, known)} Known are ${known.join(', ')}`;
    if (type === '#' && (name === 'jobs' || name === 'job') && within.includes(name)) return `has {{#${name}}} within {{#${name}}}`;
    const inner = children ? tokensProblem(children, type === '#' ? [...within, name] : within, depth + 1) : null;
    if (inner !== null) return inner;
  }
  return null;
}

/** Null prototypes, so that a name that slips through finds nothing. */
const plain = (values: Record<string, unknown>): object => Object.assign(Object.create(null), values);

/** What templates see. @param publicUrl base of links, without a slash at its end; empty: links are paths. */
export function viewOf(message: Message, publicUrl: string): object {
  const jobs = message.jobs.map(({ link, ...job }) => plain({ ...job, url: `${publicUrl}${link}` }));
  return plain({
    kind: message.kind,
    headline: headline(message),
    events: message.events,
    jobCount: message.jobCount,
    more: message.jobCount > jobs.length ? message.jobCount - jobs.length : null,
    team: message.team,
    channel: message.channel,
    from: message.from,
    to: message.to,
    url: `${publicUrl}${message.jobCount === 1 && message.jobs[0] ? message.jobs[0].link : message.link}`,
    // only when it is the one that is meant
    job: message.jobCount === 1 ? (jobs[0] ?? null) : null,
    jobs,
  });
}

/** A text of a template that was checked, or is our own. */
export const renderText = (template: string, view: object, escaped: (value: unknown) => string): string =>
  writer.render(template, view, undefined, { escape: escaped });
