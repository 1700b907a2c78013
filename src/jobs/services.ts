/** Use cases on services. An edit applies to the next call of every job that names the service: nothing is copied into jobs. */
import { inTransaction, type Pool, type Transaction } from '../postgres.ts';
import { auditInsert } from './audit.ts';
import type { Caller } from './caller.ts';
import { JobError } from './errors.ts';
import { claimIdempotencyKey } from './idempotency.ts';
import { newServiceId } from './ids.ts';
import { serviceNotFound } from './job-errors.ts';
import { isObject, mergePatch, sameJson } from './job-json.ts';
import type { WriteOptions, Written } from './jobs.ts';
import { channelErrors } from './notifications/channel-references.ts';
import { asksSucceeded, recountAsk } from './notifications/team-rules.ts';
import { replaceOrCreate } from './replace-or-create.ts';
import { invalidService, parseService, type ServiceDocument, type ServiceView, withoutReadOnlyKeys } from './services-document.ts';
import { serviceDelete, serviceFind, serviceInsert, serviceLock, servicesList, serviceUpdate, serviceUsers } from './services-store.ts';
import type { TargetRules } from './target-document.ts';

export type ServicesDeps = { pool: Pool; targetRules: TargetRules };
export type Services = ReturnType<typeof createServices>;

export function createServices({ pool, targetRules }: ServicesDeps) {
  const isId = (idOrName: string) => idOrName.startsWith('svc_');

  async function create(caller: Caller, body: unknown, options: WriteOptions = {}): Promise<Written<ServiceView>> {
    const service = parseService(body, targetRules);
    return inTransaction(pool, async (tx) => {
      await checkRules(tx, caller.team, service);
      const inserted = await serviceInsert(tx, caller.team, newServiceId(), service, caller.name);
      if (!inserted) throw nameTaken(service.name, (await serviceFind(tx, caller.team, service.name))?.id ?? 'unknown');
      await claimIdempotencyKey(tx, options.idempotency, inserted);
      await auditInsert(tx, caller, {
        action: 'service.created',
        subjectKind: 'service',
        subjectId: inserted.id,
        after: documentOf(inserted),
      });
      return { value: inserted, generation: inserted.generation };
    });
  }

  async function withLocked<T>(
    caller: Caller,
    idOrName: string,
    options: WriteOptions,
    work: (tx: Transaction, service: ServiceView) => Promise<T>,
  ): Promise<T> {
    return inTransaction(pool, async (tx) => {
      const service = await serviceLock(tx, caller.team, idOrName);
      if (!service) throw serviceNotFound(idOrName);
      if (options.ifMatch && !options.ifMatch(service.generation)) throw hasChanged(service.name, service.generation);
      return work(tx, service);
    });
  }

  async function change(
    caller: Caller,
    idOrName: string,
    options: WriteOptions,
    next: (service: ServiceView) => ServiceDocument,
  ): Promise<Written<ServiceView>> {
    let wanted = idOrName;
    try {
      return await withLocked(caller, idOrName, options, async (tx, service) => {
        const before = documentOf(service);
        const document = next(service);
        wanted = document.name;
        if (sameJson(before, document)) return { value: service, generation: service.generation };
        if (document.name !== service.name) await refuseWhileUsed(tx, caller.team, service.name, 'renamed');
        await checkRules(tx, caller.team, document);
        const value = await serviceUpdate(tx, caller.team, service.id, document);
        if (asksSucceeded(before.notify ?? []) || asksSucceeded(document.notify ?? [])) await recountAsk(tx, caller.team, document.name);
        await auditInsert(tx, caller, {
          action: 'service.updated',
          subjectKind: 'service',
          subjectId: service.id,
          before,
          after: document,
        });
        return { value, generation: value.generation };
      });
    } catch (error) {
      if ((error as { code?: unknown }).code !== '23505') throw error;
      throw nameTaken(wanted, (await serviceFind(pool, caller.team, wanted))?.id ?? 'unknown');
    }
  }

  return {
    create,

    /** PUT: by id replaces; by name creates or replaces. */
    async upsert(
      caller: Caller,
      idOrName: string,
      body: unknown,
      options: WriteOptions = {},
    ): Promise<Written<ServiceView> & { created: boolean }> {
      const plain = withoutReadOnlyKeys(body);
      const document = parseService(
        isObject(plain) && plain.name === undefined && !isId(idOrName) ? { ...plain, name: idOrName } : plain,
        targetRules,
      );
      const replace = async () => ({ ...(await change(caller, idOrName, options, () => document)), created: false });
      if (isId(idOrName)) return replace();
      return replaceOrCreate(replace, async () => {
        if (options.ifMatch) throw hasChanged(idOrName, null);
        if (document.name !== idOrName)
          throw invalidService([
            { path: '/name', message: `must be ${JSON.stringify(idOrName)}, as in the address`, code: 'name_mismatch' },
          ]);
        return { ...(await create(caller, document)), created: true };
      });
    },

    async get(caller: Caller, idOrName: string): Promise<Written<ServiceView>> {
      const value = await serviceFind(pool, caller.team, idOrName);
      if (!value) throw serviceNotFound(idOrName);
      return { value, generation: value.generation };
    },

    /** By name. `next` is the name to go on after. */
    async list(
      caller: Caller,
      { limit, after = null }: { limit: number; after?: string | null | undefined },
    ): Promise<{ items: ServiceView[]; next: string | null }> {
      const found = await servicesList(pool, caller.team, limit + 1, after);
      const items = found.slice(0, limit);
      return { items, next: found.length > limit ? items.at(-1)!.name : null };
    },

    /** PATCH: RFC 7396. */
    patch(caller: Caller, idOrName: string, patch: unknown, options: WriteOptions = {}): Promise<Written<ServiceView>> {
      if (!isObject(patch))
        throw invalidService([{ path: '', message: 'must be an object: a merge patch (RFC 7396)', code: 'invalid_type' }]);
      return change(caller, idOrName, options, (service) => parseService(mergePatch(documentOf(service), patch), targetRules));
    },

    /** @throws JobError `conflict` while jobs belong to it or call it. */
    async remove(caller: Caller, idOrName: string, options: WriteOptions = {}): Promise<Written<ServiceView>> {
      return withLocked(caller, idOrName, options, async (tx, service) => {
        await refuseWhileUsed(tx, caller.team, service.name, 'removed');
        await serviceDelete(tx, caller.team, service.id);
        await auditInsert(tx, caller, {
          action: 'service.deleted',
          subjectKind: 'service',
          subjectId: service.id,
          before: documentOf(service),
        });
        return { value: service, generation: service.generation };
      });
    },
  };
}

const documentOf = ({ name, description, baseUrl, headers, openapiUrl, notify }: ServiceView): ServiceDocument => ({
  name,
  ...(description === undefined ? {} : { description }),
  baseUrl,
  headers,
  ...(openapiUrl === undefined ? {} : { openapiUrl }),
  ...(notify === undefined ? {} : { notify }),
});

/** Channels that its rules name stay until the transaction ends. @throws JobError `invalid` naming those that are not there. */
async function checkRules(tx: Transaction, team: string, { notify = [] }: ServiceDocument): Promise<void> {
  const errors = await channelErrors(tx, team, [{ path: '/notify', rules: notify }], { lock: true });
  if (errors.length > 0) throw invalidService(errors.map(({ nth: _nth, ...error }) => error));
}

async function refuseWhileUsed(tx: Transaction, team: string, name: string, done: 'renamed' | 'removed'): Promise<void> {
  const { count, names } = await serviceUsers(tx, team, name);
  if (count === 0) return;
  const some = names.map((job) => JSON.stringify(job)).join(', ');
  throw new JobError(
    'conflict',
    'service_in_use',
    `The service ${JSON.stringify(name)} can't be ${done} while ${count} ${count === 1 ? 'job names' : 'jobs name'} it: ${some}${count > names.length ? ', …' : ''}.`,
    { extra: { jobs: count } },
  );
}

const nameTaken = (name: string, id: string) =>
  new JobError('conflict', 'name_taken', `A service named ${JSON.stringify(name)} exists already: ${id}.`, { extra: { id, name } });

const hasChanged = (name: string, generation: number | null) =>
  new JobError(
    'precondition',
    'generation_mismatch',
    generation === null
      ? `There is no service ${JSON.stringify(name)} yet, so If-Match can't hold; leave it out to create it.`
      : `The service ${JSON.stringify(name)} has changed meanwhile, it is at generation ${generation}; read it again and repeat the change.`,
    { extra: { generation } },
  );
