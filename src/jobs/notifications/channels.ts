/** Use cases on channels. Secrets go in and stay in: answers and the audit trail have them as stars. */
import { inTransaction, type Pool, type Transaction } from '../../postgres.ts';
import { auditInsert } from '../audit.ts';
import type { Caller } from '../caller.ts';
import type { FieldError } from '../errors.ts';
import { claimIdempotencyKey } from '../idempotency.ts';
import { newChannelId } from '../ids.ts';
import { documentIssues } from '../job-issues.ts';
import { isObject, jsonProblem, mergePatch, sameJson } from '../job-json.ts';
import type { WriteOptions, Written } from '../jobs.ts';
import { replaceOrCreate } from '../replace-or-create.ts';
import type { TargetRules } from '../target-document.ts';
import { type ChannelDocument, channelSchema } from './channel-document.ts';
import { channelHasChanged, channelInUse, channelNameTaken, channelNotFound, invalidChannel } from './channel-errors.ts';
import { maskErrors, masked, movedSecretErrors, newSigningSecret, unmasked } from './channel-secrets.ts';
import {
  channelDelete,
  channelFind,
  channelInsert,
  channelLock,
  channelsList,
  channelUpdate,
  channelUsers,
  type StoredChannel,
} from './channel-store.ts';

export type ChannelView = ChannelDocument & { id: string; generation: number; createdBy: string; createdAt: string; updatedAt: string };
export type Channels = ReturnType<typeof createChannels>;

const READ_ONLY_KEYS = ['id', 'generation', 'createdBy', 'createdAt', 'updatedAt'];

const viewOf = ({ id, document, generation, createdBy, createdAt, updatedAt }: StoredChannel): ChannelView => ({
  id,
  ...masked(document),
  generation,
  createdBy,
  createdAt: createdAt.toISOString(),
  updatedAt: updatedAt.toISOString(),
});

/** What the operator has set for mail: channels need not say it themselves. */
export type MailDefaults = { hasServer: boolean; hasSender: boolean };

export function createChannels({ pool, targetRules, mail }: { pool: Pool; targetRules: TargetRules; mail: MailDefaults }) {
  const isId = (idOrName: string) => idOrName.startsWith('chn_');

  /** @throws JobError `invalid` naming every wrong place. */
  function parse(body: unknown): ChannelDocument {
    const unstorable = jsonProblem(body);
    if (unstorable) throw invalidChannel([{ ...unstorable, code: 'invalid' }]);
    const parsed = channelSchema.safeParse(body);
    if (!parsed.success) throw invalidChannel(documentIssues(parsed.error));
    const channel = parsed.data;
    const errors: FieldError[] = maskErrors(channel);
    const problem = channel.type === 'email' ? null : targetRules.urlProblem(channel.url);
    if (problem) errors.push({ path: '/url', message: problem, code: 'address_refused' });
    if (channel.type === 'email') errors.push(...mailErrors(channel, mail));
    if (channel.type === 'webhook')
      for (const { header, message } of targetRules.headerProblems(channel.headers))
        errors.push({ path: `/headers/${header.replaceAll('~', '~0').replaceAll('/', '~1')}`, message, code: 'header_refused' });
    if (errors.length > 0) throw invalidChannel(errors);
    return channel;
  }

  /** The view of a creation may hold the signing secret that was made: nobody has it yet. */
  async function create(caller: Caller, body: unknown, options: WriteOptions = {}): Promise<Written<ChannelView>> {
    const asked = parse(body);
    const made = asked.type === 'webhook' && asked.secret === undefined ? newSigningSecret() : undefined;
    const document: ChannelDocument = asked.type === 'webhook' ? { ...asked, secret: asked.secret ?? made } : asked;
    return inTransaction(pool, async (tx) => {
      const inserted = await channelInsert(tx, caller.team, newChannelId(), document, caller.name);
      if (!inserted) throw channelNameTaken(document.name, (await channelFind(tx, caller.team, document.name))?.id ?? 'unknown');
      const value = { ...viewOf(inserted), ...(made === undefined ? {} : { secret: made }) };
      await claimIdempotencyKey(tx, options.idempotency, value);
      await auditInsert(tx, caller, {
        action: 'channel.created',
        subjectKind: 'channel',
        subjectId: inserted.id,
        after: masked(document),
      });
      return { value, generation: inserted.generation };
    });
  }

  async function withLocked<T>(
    caller: Caller,
    idOrName: string,
    options: WriteOptions,
    work: (tx: Transaction, channel: StoredChannel) => Promise<T>,
  ): Promise<T> {
    return inTransaction(pool, async (tx) => {
      const channel = await channelLock(tx, caller.team, idOrName);
      if (!channel) throw channelNotFound(idOrName);
      if (options.ifMatch && !options.ifMatch(channel.generation)) throw channelHasChanged(channel.document.name, channel.generation);
      return work(tx, channel);
    });
  }

  /** @param given what the request holds: secrets that it says are meant for where they go. */
  async function change(
    caller: Caller,
    idOrName: string,
    options: WriteOptions,
    given: unknown,
    next: (stored: ChannelDocument) => unknown,
  ): Promise<Written<ChannelView>> {
    let wanted = idOrName;
    try {
      return await withLocked(caller, idOrName, options, async (tx, channel) => {
        const before = channel.document;
        const body = next(before);
        const document = parse(isObject(body) ? withSigningSecret(unmasked(body, before), before) : body);
        wanted = document.name;
        if (document.type !== before.type)
          throw invalidChannel([{ path: '/type', message: `is ${before.type} and stays it; make another channel`, code: 'fixed' }]);
        const moved = movedSecretErrors(before, document, given);
        if (moved.length > 0) throw invalidChannel(moved);
        if (sameJson(before, document)) return { value: viewOf(channel), generation: channel.generation };
        if (document.name !== before.name) await refuseWhileUsed(tx, caller.team, before.name, 'renamed');
        const updated = await channelUpdate(tx, caller.team, channel.id, document);
        await auditInsert(tx, caller, {
          action: 'channel.updated',
          subjectKind: 'channel',
          subjectId: channel.id,
          before: masked(before),
          after: masked(document),
        });
        return { value: viewOf(updated), generation: updated.generation };
      });
    } catch (error) {
      if ((error as { code?: unknown }).code !== '23505') throw error;
      throw channelNameTaken(wanted, (await channelFind(pool, caller.team, wanted))?.id ?? 'unknown');
    }
  }

  return {
    create,

    /** PUT: by id replaces; by name creates or replaces. What GET returned may be sent back as it is. */
    async upsert(
      caller: Caller,
      idOrName: string,
      body: unknown,
      options: WriteOptions = {},
    ): Promise<Written<ChannelView> & { created: boolean }> {
      const plain = withoutReadOnlyKeys(body);
      const named = isObject(plain) && plain.name === undefined && !isId(idOrName) ? { ...plain, name: idOrName } : plain;
      const replace = async () => ({ ...(await change(caller, idOrName, options, named, () => named)), created: false });
      if (isId(idOrName)) return replace();
      return replaceOrCreate(replace, async () => {
        if (options.ifMatch) throw channelHasChanged(idOrName, null);
        if (parse(named).name !== idOrName)
          throw invalidChannel([
            { path: '/name', message: `must be ${JSON.stringify(idOrName)}, as in the address`, code: 'name_mismatch' },
          ]);
        return { ...(await create(caller, named)), created: true };
      });
    },

    async get(caller: Caller, idOrName: string): Promise<Written<ChannelView>> {
      const channel = await channelFind(pool, caller.team, idOrName);
      if (!channel) throw channelNotFound(idOrName);
      return { value: viewOf(channel), generation: channel.generation };
    },

    /** By name. `next` is the name to go on after. */
    async list(
      caller: Caller,
      { limit, after = null }: { limit: number; after?: string | null | undefined },
    ): Promise<{ items: ChannelView[]; next: string | null }> {
      const found = await channelsList(pool, caller.team, limit + 1, after);
      const items = found.slice(0, limit).map(viewOf);
      return { items, next: found.length > limit ? items.at(-1)!.name : null };
    },

    /** PATCH: RFC 7396. */
    patch(caller: Caller, idOrName: string, patch: unknown, options: WriteOptions = {}): Promise<Written<ChannelView>> {
      if (!isObject(patch))
        throw invalidChannel([{ path: '', message: 'must be an object: a merge patch (RFC 7396)', code: 'invalid_type' }]);
      return change(caller, idOrName, options, patch, (stored) => mergePatch(stored, patch));
    },

    /** @throws JobError `conflict` while rules name it. */
    async remove(caller: Caller, idOrName: string, options: WriteOptions = {}): Promise<void> {
      await withLocked(caller, idOrName, options, async (tx, channel) => {
        await refuseWhileUsed(tx, caller.team, channel.document.name, 'removed');
        await channelDelete(tx, caller.team, channel.id);
        await auditInsert(tx, caller, {
          action: 'channel.deleted',
          subjectKind: 'channel',
          subjectId: channel.id,
          before: masked(channel.document),
        });
      });
    },
  };
}

function mailErrors({ smtp, from }: Extract<ChannelDocument, { type: 'email' }>, { hasServer, hasSender }: MailDefaults): FieldError[] {
  return [
    ...(smtp || hasServer ? [] : [{ path: '/smtp', message: 'is required, because there is no SMTP_URL', code: 'required' }]),
    ...(from !== undefined || hasSender
      ? []
      : [{ path: '/from', message: 'is required, because there is no MAIL_FROM', code: 'required' }]),
  ];
}

/** A webhook always signs: one that is written without a secret keeps the one it has. */
const withSigningSecret = (body: Record<string, unknown>, stored: ChannelDocument): Record<string, unknown> =>
  stored.type === 'webhook' && body.type === 'webhook' && body.secret === undefined ? { ...body, secret: stored.secret } : body;

const withoutReadOnlyKeys = (body: unknown): unknown =>
  isObject(body) && body.id !== undefined
    ? Object.fromEntries(Object.entries(body).filter(([key]) => !READ_ONLY_KEYS.includes(key)))
    : body;

async function refuseWhileUsed(tx: Transaction, team: string, name: string, done: 'renamed' | 'removed'): Promise<void> {
  const users = await channelUsers(tx, team, name);
  if (users.jobs > 0 || users.services.length > 0 || users.team) throw channelInUse(name, users, done);
}
