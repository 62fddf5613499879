import type { SystemMessage } from "./protocol.js";
/** The reply of a type. */
export type Reply<T extends SystemMessage["type"]> = Extract<SystemMessage, {
    type: T;
}>;
/** Gives the reply if it is of one of these types; throws `unexpectedReply` if not. */
export declare function expectReply<T extends SystemMessage["type"]>(reply: SystemMessage, ...types: T[]): Reply<T>;
