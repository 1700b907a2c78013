/** Moments as people in a zone read them. */
import type { Zone } from './zone.ts';

/** RFC 3339 with the zone's offset at that moment: `2026-10-25T02:30:00+01:00`. Seconds precision. */
export function formatLocal(epochS: number, zone: Zone): string {
  const offset = zone.offsetAt(epochS);
  const wall = new Date((epochS + offset) * 1_000).toISOString().slice(0, 19);
  const minutes = Math.round(Math.abs(offset) / 60);
  const two = (count: number) => String(count).padStart(2, '0');
  return `${wall}${offset < 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}
