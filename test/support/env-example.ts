/** Reads `.env.example` the way a person does: a setting per line, what it means in the comment above it. */

export type ExampleEntry = { name: string; value: string; meaning: string; commentedOut: boolean };

const COMPOSE_HEADING = /^# ---- docker compose -/;
const SETTING = /^(#?)([A-Z][A-Z0-9_]*)=(.*)$/;

/**
 * @returns the settings of Almanac's processes, and those that docker-compose.yml alone reads. Settings that follow each other
 * without a comment between them share the one above.
 */
export function readEnvExample(text: string): { settings: ExampleEntry[]; compose: ExampleEntry[] } {
  const settings: ExampleEntry[] = [];
  const compose: ExampleEntry[] = [];
  let entries = settings;
  let meaning = '';
  let afterSetting = false;
  for (const line of text.split('\n')) {
    const [, hash, name, value] = SETTING.exec(line) ?? [];
    if (COMPOSE_HEADING.test(line)) entries = compose;
    if (name !== undefined) {
      entries.push({ name, value: value ?? '', meaning, commentedOut: hash === '#' });
      afterSetting = true;
    } else if (line.startsWith('#')) {
      meaning = afterSetting ? line.slice(1) : meaning + line.slice(1);
      afterSetting = false;
    } else {
      meaning = '';
      afterSetting = false;
    }
  }
  return { settings, compose };
}
