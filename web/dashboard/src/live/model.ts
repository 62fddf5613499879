/** One session as a view sees it, live from the server or read-only from an exported file. */
import type { Participant } from "@agentbench/client";
import { type Signal, signal } from "@preact/signals";
import type { Failure } from "../api/failure.js";
import type { SessionInfo } from "../api/types.js";
import type { Entry } from "../timeline/entry.js";
import { Timeline } from "../timeline/store.js";
import type { EvidenceShelf } from "./evidence.js";
import { Beat } from "./frames.js";

/** Changes of the lifecycle that a user can ask for. */
export type Control = "start" | "pause" | "resume" | "stop";

/** What became of a note or a score. */
export type Published = { is: "stored" } | { is: "refused"; failure: Failure } | { is: "unknown" };

/** What a replay by the server tells: it has come to a seq, to its end, or no further. */
export type ServerPlay = { seq: number } | { failure: Failure } | "end";

/** What a view can do with a session that is live. */
export interface Actions {
  /** Which of the controls the token's role allows. */
  mayControl: boolean;
  /** Whether notes and scores can be given. */
  mayReview: boolean;
  control(what: Control): Promise<void>;
  publish(data: Record<string, unknown>): Promise<Published>;
  export(format: "jsonl" | "html"): Promise<Blob>;
  /** Lets the server play the log. `told` gets how far it is; gives a function that ends it. */
  serverReplay(speed: number, fromSeq: number, told: (news: ServerPlay) => void): Promise<() => void>;
}

/** A session. */
export interface SessionModel {
  readonly info: Signal<SessionInfo>;
  readonly timeline: Timeline;
  /** Grows when the time line has changed. */
  readonly changed: Signal<number>;
  readonly participants: Signal<readonly Participant[]>;
  /** What went wrong last, if it still matters. */
  readonly failure: Signal<Failure | null>;
  readonly shelf: EvidenceShelf;
  /** `null` for an exported file. */
  readonly actions: Actions | null;
  /** When the file was exported, ms since 1970; `null` for a live session. */
  readonly exportedAt: number | null;
  /** Sees to it that a range of seqs will be here. */
  want(from: number, to: number): void;
  /** Loads everything; see `Loader.all`. */
  loadAll(goOn: (loaded: number, total: number) => boolean): Promise<void>;
  close(): void;
}

/** The parts that every session has. */
export function parts(info: SessionInfo): {
  info: Signal<SessionInfo>; timeline: Timeline; beat: Beat; participants: Signal<readonly Participant[]>; failure: Signal<Failure | null>;
} {
  const timeline = new Timeline();
  timeline.reach(info.headSeq);
  return { info: signal(info), timeline, beat: new Beat(), participants: signal(info.participants ?? []), failure: signal<Failure | null>(null) };
}

/** States in which a session takes nothing more. */
const ENDED: readonly string[] = ["completed", "error", "expired"] satisfies SessionInfo["status"][];

/** Whether a session has ended: it takes no notes and scores then. */
export function hasEnded({ status, endedAt }: Pick<SessionInfo, "status" | "endedAt">): boolean {
  return typeof endedAt === "number" || ENDED.includes(status);
}

/** The session after an entry of its lifecycle. */
export function afterLifecycle(info: SessionInfo, entry: Entry): SessionInfo {
  const { status, reason } = entry.data;
  if (typeof status !== "string") return info;
  // A state that is not known is shown as it is: the one before is over in any case.
  const next: SessionInfo = { ...info, status: status as SessionInfo["status"] };
  if (entry.name === "session_started") next.startedAt = info.startedAt ?? entry.at;
  if (entry.name === "session_stopped" || entry.name === "session_expired") {
    next.endedAt = entry.at;
    if (typeof reason === "string") next.reason = reason;
  }
  return next;
}
