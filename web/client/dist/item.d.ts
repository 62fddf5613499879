/** What a follow gives: entries of the log, and everything that a reader has to know about its place in it. */
import type { Envelope, GapCause, NotRecovered, Position, Presence, SystemMessage } from "./protocol.js";
/** Who sent an event. */
export type Sender = NonNullable<Envelope["sender"]>;
/** The sender's handling instructions. */
export type Metadata = NonNullable<Envelope["metadata"]>;
/** One entry of a log as it was received. */
export interface Delivered {
    /** Its session. */
    sessionId: string;
    /** Its place in the session's log. */
    seq: number;
    /** The sender's id of it. */
    id: string;
    /** The sender's clock, ms since 1970. */
    timestamp: number;
    /** When the server took it, ms since 1970. */
    receivedAt: number;
    /** The content. */
    data: Record<string, unknown>;
    /** The sender's handling instructions. */
    metadata?: Metadata;
    /** Who sent it. */
    sender?: Sender;
}
/** An event of the log. */
export interface EventItem extends Delivered {
    type: "event";
}
/** An entry of the log about the session itself: `session_created`, `session_started` and the like. */
export interface LifecycleItem extends Delivered {
    type: "lifecycle";
    /** What happened. */
    change: SystemMessage;
}
/** An entry that a violation had left out has come after all, behind later ones. */
export interface LateItem extends Delivered {
    type: "late";
}
/** Entries that this follow does not get, and why. */
export interface GapItem {
    type: "gap";
    /** First seq. */
    from: number;
    /** Last seq. */
    to: number;
    /** Why. */
    cause: GapCause;
    /** Whether the history still has them. */
    history: boolean;
}
/** Somebody joined or left; not in the log. */
export interface PresenceItem {
    type: "presence";
    /** Joined, or left. */
    joined: boolean;
    /** Who, and who is there now. */
    presence: Presence;
}
/** How a connection ended. */
export interface Disconnected {
    /** The WebSocket close code, if the server closed it. */
    code: number | null;
    /** What happened. */
    detail: string;
}
/** The connection is lost; the follow goes on by itself when there is another one. */
export interface DisconnectedItem extends Disconnected {
    type: "disconnected";
}
/** Joined again at its position: nothing is missed. */
export interface ResumedItem {
    type: "resumed";
    /** Where it stood, and goes on. */
    from: Position;
    /** The last seq of the log at that moment. */
    headSeq: number;
}
/** The log could not honour the position; the follow goes on from another one. */
export interface NotRecoveredItem {
    type: "notRecovered";
    /** Why. */
    reason: NotRecovered | null;
    /** Where it stood. */
    was: Position;
    /** Where it goes on. */
    from: Position;
}
/** A hole in the order that no gap explains. The follow goes on behind it. */
export interface ViolationItem {
    type: "violation";
    /** The seq that had to come. */
    expected: number;
    /** The seq that came (for a gap, its first). */
    got: number;
}
/** One step of a follow. */
export type Item = EventItem | LifecycleItem | LateItem | GapItem | PresenceItem | DisconnectedItem | ResumedItem | NotRecoveredItem | ViolationItem;
