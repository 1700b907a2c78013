/** The Prefer header (RFC 7240): `respond-async` and `wait`; what is not known is ignored, as the RFC asks. */

export type Preferences = {
  /** Answer as soon as the write is safe, without waiting for Temporal. */
  respondAsync: boolean;
  /** Milliseconds the client would wait for the end of started work; undefined when not said. */
  waitMs: number | undefined;
};

const NONE: Preferences = { respondAsync: false, waitMs: undefined };
const MOST_WAIT_S = 60;

/** Reads the header. The first of a repeated preference counts (RFC 7240 section 2). */
export function parsePrefer(header: string | undefined): Preferences {
  if (header === undefined) return NONE;
  let respondAsync = false;
  let waitMs: number | undefined;
  for (const part of header.split(',')) {
    const [preference = ''] = part.split(';');
    const [name = '', value = ''] = preference.split('=').map((text) => text.trim());
    if (name.toLowerCase() === 'respond-async') respondAsync = true;
    else if (name.toLowerCase() === 'wait' && waitMs === undefined && /^"?\d{1,9}"?$/.test(value)) {
      waitMs = Math.min(MOST_WAIT_S, Number(value.replaceAll('"', ''))) * 1_000;
    }
  }
  return { respondAsync, waitMs };
}
