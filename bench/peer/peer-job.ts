/** What the rig posts: a job of any peer. */
export type PeerJob = {
  key: string;
  kind: 'now' | 'at' | 'cron';
  /** When it is due, milliseconds since 1970, for `at`. */
  at_ms: number;
  /** 5 or 6 fields, for `cron`. */
  cron: string;
  /** What the work takes, milliseconds. */
  sleep_ms?: number;
  /** Milliseconds since 1970. */
  sent_ms: number;
};
