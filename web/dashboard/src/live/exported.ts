/** A session from an exported file: everything is here, and nothing changes. */
import { Failure } from "../api/failure.js";
import { own } from "../own.js";
import type { LogMessage, SessionInfo } from "../api/types.js";
import { EvidenceShelf } from "./evidence.js";
import { take } from "./loader.js";
import { type SessionModel, parts } from "./model.js";

/** What an exported file holds. */
export interface Exported {
  version: 1;
  /** ms since 1970. */
  exportedAt: number;
  session: SessionInfo;
  events: LogMessage[];
  /** By hash. */
  evidence: Record<string, { contentType: string; base64: string }>;
}

/** Reads the file's content. Throws if it is none that can be shown. */
export function readExported(json: string): Exported {
  const whole = JSON.parse(json) as Partial<Exported> | null;
  if (whole?.version !== 1) throw new Error("this file is of a version that its page does not know");
  if (!whole.session || !Array.isArray(whole.events)) throw new Error("this file holds no session");
  return { version: 1, exportedAt: whole.exportedAt ?? 0, session: whole.session, events: whole.events, evidence: whole.evidence ?? {} };
}

/** The session of a file. */
export function exportedSession(file: Exported): SessionModel {
  const { timeline, beat, participants, failure, info } = parts(file.session);
  take(timeline, file.events);
  const absent = (hash: string): Promise<never> => Promise.reject(new Failure("not_found", hash));
  const shelf = new EvidenceShelf((hash) => {
    const found = own(file.evidence, hash);
    return found ? Promise.resolve(new Blob([Uint8Array.from(atob(found.base64), (char) => char.charCodeAt(0))])) : absent(hash);
  }, (hash) => (own(file.evidence, hash) ? Promise.resolve() : absent(hash)));
  return {
    info, timeline, changed: beat.signal, participants, failure, shelf, actions: null, exportedAt: file.exportedAt,
    want: () => undefined,
    loadAll: () => Promise.resolve(),
    close: () => shelf.close(),
  };
}
