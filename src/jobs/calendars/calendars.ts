/** Use cases on calendars: made, changed (with a look beforehand at what that does to jobs), imported, and taken away when no job names them any more. */
import { inTransaction, type Pool, type Transaction } from '../../postgres.ts';
import { auditInsert } from '../audit.ts';
import type { Caller } from '../caller.ts';
import type { JobError } from '../errors.ts';
import { claimIdempotencyKey } from '../idempotency.ts';
import { isObject, mergePatch, sameJson } from '../job-json.ts';
import type { WriteOptions, Written } from '../jobs.ts';
import { replaceOrCreate } from '../replace-or-create.ts';
import { type CalendarDocument, type CalendarView, invalidCalendar, parseCalendar, withoutReadOnlyKeys } from './calendar-document.ts';
import { calendarHasChanged, calendarInUse, calendarNameTaken, calendarNotFound } from './calendar-errors.ts';
import {
  type CalendarSummary,
  type CalendarVersion,
  calendarDelete,
  calendarFind,
  calendarInsert,
  calendarLock,
  calendarsList,
  calendarUpdate,
  calendarUsers,
  calendarVersions,
  calendarZones,
  type StoredCalendar,
} from './calendars-store.ts';
import { calendarSpans } from './days.ts';
import { type Replan, replanOf } from './replan.ts';
import { spansWrite } from './span-store.ts';
import type { Span } from './spans.ts';

const DAY_S = 86_400;
/** A document must be workable for as long as its stretches may be asked for. */
const CHECKED_AHEAD_S = 800 * DAY_S;
const CHECKED_BEHIND_S = 60 * DAY_S;

export type CalendarWrite = WriteOptions & {
  /** Answers with what would change, and changes nothing. */
  dryRun?: boolean | undefined;
};
export type CalendarChange = Written<CalendarView> & {
  created: boolean;
  /** Of a dry run: what it would do to the jobs that use it. */
  replan: Replan | null;
};
export type Calendars = ReturnType<typeof createCalendars>;

export function createCalendars({ pool }: { pool: Pool }) {
  async function parse(body: unknown): Promise<CalendarDocument> {
    const document = await parseCalendar(body);
    const nowS = Math.floor(Date.now() / 1_000);
    await calendarSpans(document, 'UTC', nowS - CHECKED_BEHIND_S, nowS + CHECKED_AHEAD_S);
    return document;
  }

  async function create(caller: Caller, body: unknown, options: WriteOptions = {}): Promise<CalendarChange> {
    return insert(caller, await parse(body), options);
  }

  function insert(caller: Caller, document: CalendarDocument, options: WriteOptions): Promise<CalendarChange> {
    return inTransaction(pool, async (tx) => {
      const inserted = await calendarInsert(tx, caller.team, document, caller.name);
      if (!inserted) throw calendarNameTaken(document.name);
      const value = viewOf(inserted);
      await claimIdempotencyKey(tx, options.idempotency, value);
      await auditInsert(tx, caller, { action: 'calendar.created', subjectKind: 'calendar', subjectId: document.name, after: document });
      return { value, generation: inserted.version, created: true, replan: null };
    });
  }

  /** @param next the document as it should be, made of the stored one. */
  async function change(
    caller: Caller,
    name: string,
    options: CalendarWrite,
    next: (stored: CalendarDocument) => CalendarDocument | Promise<CalendarDocument>,
  ): Promise<CalendarChange> {
    if (options.dryRun) return rehearse(caller, name, options, next);
    return inTransaction(pool, async (tx) => {
      const { stored, document } = await wanted(await calendarLock(tx, caller.team, name), name, options, next);
      const same = sameJson(stored.document, document);
      const written = same ? stored : await save(tx, caller, stored, document);
      const value = viewOf(written);
      await claimIdempotencyKey(tx, options.idempotency, value);
      return { value, generation: written.version, created: false, replan: null };
    });
  }

  /** The next version with its stretches in all zones, at one moment for everybody. The jobs' next runs follow (controller/calendar-replans.ts). */
  async function save(tx: Transaction, caller: Caller, stored: StoredCalendar, document: CalendarDocument): Promise<StoredCalendar> {
    const written = await calendarUpdate(tx, caller.team, document, caller.name);
    const now = new Date();
    for (const zone of await calendarZones(tx, caller.team, document.name))
      await spansWrite(tx, caller.team, { name: document.name, version: written.version, document }, zone, now);
    await auditInsert(tx, caller, {
      action: 'calendar.updated',
      subjectKind: 'calendar',
      subjectId: document.name,
      before: stored.document,
      after: document,
    });
    return written;
  }

  async function rehearse(
    caller: Caller,
    name: string,
    options: CalendarWrite,
    next: (stored: CalendarDocument) => CalendarDocument | Promise<CalendarDocument>,
  ): Promise<CalendarChange> {
    const { stored, document } = await wanted(await calendarFind(pool, caller.team, name), name, options, next);
    const replan = await replanOf(pool, caller.team, document, new Date());
    return { value: viewOf({ ...stored, document }), generation: stored.version, created: false, replan };
  }

  async function wanted(
    stored: StoredCalendar | null,
    name: string,
    { ifMatch }: CalendarWrite,
    next: (stored: CalendarDocument) => CalendarDocument | Promise<CalendarDocument>,
  ): Promise<{ stored: StoredCalendar; document: CalendarDocument }> {
    if (!stored) throw calendarNotFound(name);
    if (ifMatch && !ifMatch(stored.version)) throw calendarHasChanged(name, stored.version);
    const document = await next(stored.document);
    if (document.name !== name) throw otherName(name);
    return { stored, document };
  }

  /** Changes a calendar, or makes it when there is none of that name. */
  async function changeOrCreate(
    caller: Caller,
    name: string,
    options: CalendarWrite,
    next: (stored: CalendarDocument | null) => CalendarDocument | Promise<CalendarDocument>,
  ): Promise<CalendarChange> {
    return replaceOrCreate(
      () => change(caller, name, options, next),
      async () => {
        if (options.ifMatch) throw calendarHasChanged(name, null);
        const document = await next(null);
        if (document.name !== name) throw otherName(name);
        if (!options.dryRun) return insert(caller, document, options);
        const replan = await replanOf(pool, caller.team, document, new Date());
        return { value: unsavedView(caller, document), generation: 0, created: true, replan };
      },
    );
  }

  return {
    create,

    /** PUT: replaces, or creates. What GET returned may be sent back as it is. */
    async upsert(caller: Caller, name: string, body: unknown, options: CalendarWrite = {}): Promise<CalendarChange> {
      const plain = withoutReadOnlyKeys(body);
      const document = await parse(isObject(plain) && plain.name === undefined ? { ...plain, name } : plain);
      return changeOrCreate(caller, name, options, () => document);
    },

    /** PATCH: RFC 7396. */
    patch(caller: Caller, name: string, patch: unknown, options: CalendarWrite = {}): Promise<CalendarChange> {
      if (!isObject(patch))
        throw invalidCalendar([{ path: '', message: 'must be an object: a merge patch (RFC 7396)', code: 'invalid_type' }]);
      return change(caller, name, options, (stored) => parse(mergePatch(stored, patch)));
    },

    /** Sets what a calendar has of an iCalendar file, and leaves its other parts; makes the calendar when there is none. */
    importIcs: (caller: Caller, name: string, text: string, options: CalendarWrite = {}): Promise<CalendarChange> =>
      changeOrCreate(caller, name, options, (stored) => parse({ ...(stored ?? { name }), ics: text })),

    /** @throws JobError `conflict` while jobs name it. */
    remove: (caller: Caller, name: string, options: WriteOptions = {}): Promise<void> =>
      inTransaction(pool, async (tx) => {
        const stored = await calendarLock(tx, caller.team, name);
        if (!stored) throw calendarNotFound(name);
        if (options.ifMatch && !options.ifMatch(stored.version)) throw calendarHasChanged(name, stored.version);
        const users = await calendarUsers(tx, caller.team, name);
        if (users.count > 0) throw calendarInUse(name, users);
        await calendarDelete(tx, caller.team, name);
        await auditInsert(tx, caller, { action: 'calendar.deleted', subjectKind: 'calendar', subjectId: name, before: stored.document });
      }),

    async get(caller: Caller, name: string): Promise<Written<CalendarView>> {
      const stored = await calendarFind(pool, caller.team, name);
      if (!stored) throw calendarNotFound(name);
      return { value: viewOf(stored), generation: stored.version };
    },

    /** By name. `next` is the name to go on after. */
    async list(
      caller: Caller,
      { limit, after = null }: { limit: number; after?: string | null | undefined },
    ): Promise<{ items: CalendarSummary[]; next: string | null }> {
      const found = await calendarsList(pool, caller.team, limit + 1, after);
      const items = found.slice(0, limit);
      return { items, next: found.length > limit ? items.at(-1)!.name : null };
    },

    /** Newest first; also those of a deleted calendar. */
    async versions(
      caller: Caller,
      name: string,
      { limit, before = null }: { limit: number; before?: number | null | undefined },
    ): Promise<{ items: CalendarVersion[]; next: number | null }> {
      const found = await calendarVersions(pool, caller.team, name, limit + 1, before);
      if (found.length === 0 && before === null) throw calendarNotFound(name);
      const items = found.slice(0, limit);
      return { items, next: found.length > limit ? items.at(-1)!.version : null };
    },

    async version(caller: Caller, name: string, version: number): Promise<CalendarVersion> {
      const [found] = await calendarVersions(pool, caller.team, name, 1, version + 1);
      if (found?.version !== version) throw calendarNotFound(`${name} at version ${version}`);
      return found;
    },

    /** The stretches of a calendar as a zone reads them, epoch seconds. */
    async days(caller: Caller, name: string, timezone: string, fromS: number, toS: number): Promise<Span[]> {
      const stored = await calendarFind(pool, caller.team, name);
      if (!stored) throw calendarNotFound(name);
      return calendarSpans(stored.document, timezone, fromS, toS);
    },
  };
}

const viewOf = ({ document, version, createdBy, createdAt, updatedAt }: StoredCalendar): CalendarView => ({
  ...document,
  version,
  createdBy,
  createdAt: createdAt.toISOString(),
  updatedAt: updatedAt.toISOString(),
});

const unsavedView = (caller: Caller, document: CalendarDocument): CalendarView =>
  viewOf({ document, version: 0, createdBy: caller.name, createdAt: new Date(), updatedAt: new Date() });

const otherName = (name: string): JobError =>
  invalidCalendar([
    { path: '/name', message: `must be ${JSON.stringify(name)}, as in the address: a name never changes`, code: 'name_mismatch' },
  ]);
