/** Who asks: the holder of an API key, and the request the question came with. */
export type Caller = {
  /** Id of the key. */
  holder: string;
  /** Name of the key, kept in `createdBy`, `requestedBy` and the audit trail. */
  name: string;
  team: string;
  role: 'admin';
  requestId: string;
};
