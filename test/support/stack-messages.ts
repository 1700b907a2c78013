/** What the keeper of the test servers tells the tests. */
export type StackAddresses = { databaseUrl: string; temporalAddress: string };
export type StackMessage =
  | { kind: 'progress'; message: string }
  | ({ kind: 'ready' } & StackAddresses)
  | { kind: 'failed'; message: string };

/** The migrated database that every test file gets a clone of. */
export const TEMPLATE = 'almanac_template';
