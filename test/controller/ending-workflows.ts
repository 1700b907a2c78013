/** A workflow of the name that ours has, which ends at once without a record. */
export async function executeJob(): Promise<string> {
  return 'ended without a record';
}
