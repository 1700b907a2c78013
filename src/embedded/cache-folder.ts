/** The per-user cache: what is the same for every checkout and may be deleted at any time. */
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';

/** `$XDG_CACHE_HOME/almanac`, by default `~/.cache/almanac` (`~/Library/Caches/almanac` on macOS). */
export function cacheFolder(environment: NodeJS.ProcessEnv): string {
  // The base directory specification says that a relative path is to be ignored.
  if (environment.XDG_CACHE_HOME && path.isAbsolute(environment.XDG_CACHE_HOME)) return path.join(environment.XDG_CACHE_HOME, 'almanac');
  const home = homedir();
  if (!home || home === '/') return path.join(tmpdir(), `almanac-${process.getuid?.() ?? 'cache'}`);
  return process.platform === 'darwin' ? path.join(home, 'Library', 'Caches', 'almanac') : path.join(home, '.cache', 'almanac');
}
