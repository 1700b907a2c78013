/**
 * Fast arithmetic of time zones. Intl formats about a million times a second, which is too slow for an oracle that walks thousands of slots, so each
 * zone's offset changes are read once (about 1 ms) into two arrays; after that an offset is an array look-up.
 */

/** The first and last second whose offsets are known exactly: 1970 to the end of 2101, one year past the last year Temporal computes. */
const FROM_S = 0;
const TO_S = Date.UTC(2102, 0, 1) / 1000;

/** A moment at which a zone's offset from UTC changes. Seconds; `after - before` is positive for a gap, negative for a repeated stretch. */
export type ZoneChange = { at: number; before: number; after: number };

export type Zone = {
  /** Canonical name, e.g. `Europe/Berlin`. */
  id: string;
  /** Offset from UTC in seconds, valid at this epoch second. */
  offsetAt: (epochS: number) => number;
  /** Epoch second of a wall time given as if it were UTC. A wall time in a gap, or a repeated one, resolves as Temporal's server does. */
  epochOf: (wallS: number) => number;
  /** True when the offset never changes within `[fromS, toS]`. */
  isSteady: (fromS: number, toS: number) => boolean;
  /** Offset changes with `fromS < at <= toS`. */
  changes: (fromS: number, toS: number) => ZoneChange[];
  /** The first offset change after this epoch second. */
  nextChange: (afterS: number) => ZoneChange | null;
};

const zones = new Map<string, Zone>();
const canonicalNames = new Map<string, string>();
/** Any mix of upper and lower case is a name of a zone too. */
const MOST_NAMES = 2_000;

/**
 * The name under which a zone is stored and sent to Temporal: IANA spelling (the server's look-up is case-sensitive), all names of UTC as `UTC`.
 * @returns null for a name that Intl does not know, and for bare offsets (`+02:00`), which the server can't load.
 */
export function canonicalZone(name: string): string | null {
  let canonical: string | null | undefined = canonicalNames.get(name);
  if (canonical === undefined) {
    canonical = lookUpZone(name);
    // only what exists is kept: there are some hundred zones, and no end of other texts
    if (canonical !== null && canonicalNames.size < MOST_NAMES) canonicalNames.set(name, canonical);
  }
  return canonical;
}

/** Intl takes a tenth of a millisecond for each, which is a tenth of a whole request. */
function lookUpZone(name: string): string | null {
  if (!/^[A-Za-z]/.test(name)) return null;
  try {
    const resolved = new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone;
    if (resolved === 'UTC') return 'UTC';
    // Intl may answer with another name of the same zone (Asia/Calcutta for Asia/Kolkata); people keep the name they chose.
    if (hasNativeZones()) return Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(name).timeZoneId;
    return resolved.toLowerCase() === name.toLowerCase() ? resolved : name;
  } catch {
    return null;
  }
}

/** The zone of this name, from the cache or read now. @throws RangeError for an unknown name. */
export function zoneOf(name: string): Zone {
  let zone = zones.get(name);
  if (!zone) {
    zone = createZone(name, name === 'UTC' ? [] : hasNativeZones() ? nativeChanges(name) : searchedChanges(name));
    zones.set(name, zone);
  }
  return zone;
}

/** A zone with one offset for ever, in seconds. */
export function fixedZone(offsetS: number): Zone {
  return {
    id: `fixed:${offsetS}`,
    offsetAt: () => offsetS,
    epochOf: (wallS) => wallS - offsetS,
    isSteady: () => true,
    changes: () => [],
    nextChange: () => null,
  };
}

function createZone(id: string, changes: ZoneChange[]): Zone {
  const first = changes[0];
  if (!first) return { ...fixedZone(id === 'UTC' ? 0 : intlOffset(id)(FROM_S)), id };
  const at = Float64Array.from([Number.NEGATIVE_INFINITY, ...changes.map((change) => change.at), Number.POSITIVE_INFINITY]);
  const offsets = Float64Array.from([first.before, ...changes.map((change) => change.after)]);
  // Successive questions are almost always about the same stretch.
  let current = 0;
  const offsetAt = (epochS: number): number => {
    if (epochS >= at[current]! && epochS < at[current + 1]!) return offsets[current]!;
    let low = 0;
    let high = offsets.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (at[middle]! <= epochS) low = middle;
      else high = middle - 1;
    }
    current = low;
    return offsets[low]!;
  };
  return {
    id,
    offsetAt,
    // Go's time.Date: guess with the offset valid when the wall time is read as UTC, then take the offset valid at the guessed moment.
    epochOf: (wallS) => wallS - offsetAt(wallS - offsetAt(wallS)),
    isSteady: (fromS, toS) => {
      offsetAt(fromS);
      return toS < at[current + 1]!;
    },
    changes: (fromS, toS) => changes.filter((change) => change.at > fromS && change.at <= toS),
    nextChange: (afterS) => {
      offsetAt(afterS);
      return changes[current] ?? null;
    },
  };
}

const hasNativeZones = () => typeof Temporal !== 'undefined';

function nativeChanges(name: string): ZoneChange[] {
  const found: ZoneChange[] = [];
  let moment = Temporal.Instant.fromEpochMilliseconds(FROM_S * 1000).toZonedDateTimeISO(name);
  for (;;) {
    const next = moment.getTimeZoneTransition('next');
    if (!next || next.epochMilliseconds / 1000 > TO_S) return found;
    const before = next.subtract({ nanoseconds: 1 }).offsetNanoseconds / 1e9;
    const after = next.offsetNanoseconds / 1e9;
    if (before !== after) found.push({ at: next.epochMilliseconds / 1000, before, after });
    moment = next;
  }
}

/** Days between two looks of the search. Two changes of one zone have never been closer than this since 1970 (a test compares all zones). */
const SEARCH_STEP_S = 4 * 86_400;

/** The same by Intl alone, for a runtime without native Temporal: about 20 ms a zone. Exported for the test that compares both. */
export function searchedChanges(name: string): ZoneChange[] {
  const offsetAt = intlOffset(name);
  const found: ZoneChange[] = [];
  let before = offsetAt(FROM_S);
  for (let start = FROM_S; start < TO_S; start += SEARCH_STEP_S) {
    const after = offsetAt(start + SEARCH_STEP_S);
    if (after === before) continue;
    let low = start;
    let high = start + SEARCH_STEP_S;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (offsetAt(middle) === before) low = middle;
      else high = middle;
    }
    found.push({ at: high, before, after });
    before = after;
  }
  return found;
}

function intlOffset(name: string): (epochS: number) => number {
  const format = new Intl.DateTimeFormat('en-US', { timeZone: name, timeZoneName: 'longOffset', year: 'numeric' });
  return (epochS) => {
    const match = /GMT(?:([+-])(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(format.format(epochS * 1000));
    const seconds = Number(match?.[2] ?? 0) * 3600 + Number(match?.[3] ?? 0) * 60 + Number(match?.[4] ?? 0);
    return match?.[1] === '-' ? -seconds : seconds;
  };
}
