/** Archives in a directory, e.g. a mounted volume that the controller writes and the API reads. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { checkName, type Place, PlaceError } from './place.ts';

/** @param directory is made, with its parents, by the first write. */
export function createDirectoryPlace(directory: string): Place {
  const root = resolve(directory);
  const pathOf = (name: string) => join(root, checkName(name));

  async function said<T>(what: string, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof PlaceError) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      throw new PlaceError(`${what}: ${message}`, { missing: code === 'ENOENT', cause: error });
    }
  }

  /** Another name first: what has the right name is whole, also when the machine loses power in between. */
  async function write(path: string, bytes: Buffer): Promise<void> {
    await mkdir(dirname(path), { recursive: true });
    const unfinished = `${path}.${randomUUID()}.unfinished`;
    try {
      const file = await open(unfinished, 'wx');
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(unfinished, path);
    } catch (error) {
      await rm(unfinished, { force: true }).catch(() => {});
      throw error;
    }
    const folder = await open(dirname(path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async function list(folder: string): Promise<string[]> {
    const entries = await readdir(pathOf(folder), { recursive: true, withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
      .sort();
  }

  return {
    kind: 'directory',
    address: root,
    put: (name, bytes) => said(`${name} could not be written to ${root}`, write(pathOf(name), bytes)),
    get: (name) => said(`${name} could not be read from ${root}`, readFile(pathOf(name))),
    list: (folder) => said(`${folder} could not be listed in ${root}`, list(folder)),
    remove: (name) => said(`${name} could not be removed from ${root}`, rm(join(root, name), { force: true })),
  };
}
