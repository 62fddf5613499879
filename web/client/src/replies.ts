/** The commands' replies: each has one type, and anything else is an error that says so. */
import { ClientError } from "./outcome.js";
import type { SystemMessage } from "./protocol.js";

/** The reply of a type. */
export type Reply<T extends SystemMessage["type"]> = Extract<SystemMessage, { type: T }>;

/** Gives the reply if it is of this type; throws `unexpectedReply` if not. */
export function expectReply<T extends SystemMessage["type"]>(reply: SystemMessage, type: T): Reply<T> {
  if (reply.type !== type) throw unexpected(reply.type, type);
  return reply as Reply<T>;
}

/** The server's answer is none to what was asked. */
export function unexpected(type: string, expected: string): ClientError {
  return new ClientError("unexpectedReply", `the server answered with ${type} where ${expected} was expected`);
}
