/** Reads messages from the server defensively: whatever a field holds, what comes out has the type that it says. */
import type { Delivered, GapItem } from "../item.js";
import type { AckLevel, ErrorData, Joined } from "../protocol.js";
import type { Greeting } from "./connect.js";
import type { Farewell } from "./state.js";
/** An object whose fields may hold anything. */
export type Fields = Record<string, unknown>;
/** One message. */
export interface Incoming {
    type: string;
    sessionId: string | null;
    data: Fields;
    /** Its place in a log, if it has one. */
    seq: number | null;
    isReplay: boolean;
    whole: Fields;
}
/** The messages of a frame, which holds one or an array of them. Throws if they are not objects. */
export declare function readMessages(frame: unknown): Incoming[];
/** A text, or nothing. */
export declare function text(value: unknown): string | null;
/** A number of ms, bytes and the like, or nothing. */
export declare function amount(value: unknown): number | null;
/** The entry of a log that a message is. */
export declare function delivered(message: Incoming, sessionId: string, seq: number): Delivered;
/** An ack in either form. */
export interface IncomingAck {
    sessionId: string | null;
    epoch: string | null;
    level: AckLevel | null;
    duplicate: boolean;
    /** Id and seq of every event that is acked. */
    pairs: [string, number][];
}
export declare function readAck(data: Fields): IncomingAck;
export declare function readGreeting(data: Fields): Greeting;
export declare function readGap(data: Fields): GapItem | null;
export declare function readFarewell(data: Fields): Farewell | null;
export declare function readError(data: Fields): ErrorData | null;
/** The answer to a join, if it is one. */
export declare function readJoined(data: Fields): Joined | null;
