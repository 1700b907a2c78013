/** PUT to a name: changes what is there, makes what is not. */
import { JobError } from './errors.ts';

/** Others may make and take away the same name meanwhile; after so many rounds the last answer stands. */
const ROUNDS = 3;

/**
 * @param create throws as well what speaks against making it.
 * @throws JobError of the steps; `name_taken` only when the name comes and goes.
 */
export async function replaceOrCreate<T>(replace: () => Promise<T>, create: () => Promise<T>): Promise<T> {
  for (let round = 1; ; round += 1) {
    try {
      return await replace();
    } catch (error) {
      if (!(error instanceof JobError) || error.kind !== 'not_found') throw error;
    }
    try {
      return await create();
    } catch (error) {
      // somebody else has just made it: change that one
      if (round >= ROUNDS || !(error instanceof JobError) || error.code !== 'name_taken') throw error;
    }
  }
}
