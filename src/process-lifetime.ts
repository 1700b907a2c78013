/** Ties a process to the one that started it: when that one dies, however it dies, this one stops as if told to. */

/** Call first thing in an entry. Without a parent that opened a channel (a container, a shell) it does nothing. */
export function exitWithParent(): void {
  if (!process.channel) return;
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  process.channel.unref();
}
