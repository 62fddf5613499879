/** What to do after a connection has ended, or did not come about: a table. */
import type { Disconnected } from "../item.js";
import type { Ended } from "../outcome.js";
import type { Reconnect } from "../protocol.js";

/** How a connection ended. */
export type Lost =
  /** The socket failed, or ended without a close. */
  | { how: "io"; detail: string }
  /** The server could not be reached. */
  | { how: "unreachable"; detail: string }
  /** The connection was not ready in time. */
  | { how: "tooSlow" }
  /** Nothing was received for too long. */
  | { how: "silent" }
  /** The server answered the upgrade with another status than 101. `retryAfter` in ms. */
  | { how: "http"; status: number; retryAfter: number | null; body: string }
  /** The server's messages are not what the protocol allows. */
  | { how: "violation"; detail: string }
  /** The server closed it; `asked` is what its `disconnecting` message asked for before. */
  | { how: "closed"; code: number | null; reason: string; asked: { reconnect: Reconnect; after: number } | null };

/** What follows. */
export type Verdict =
  /** Try again after the usual backoff, and not before this time, ms. */
  | { then: "retry"; after: number }
  /** Get a new token, then try again. */
  | { then: "newToken" }
  /** The token was refused: a new one helps, if there is one. */
  | { then: "badToken"; ended: Ended }
  /** Never. */
  | { then: "end"; ended: Ended };

/** Close code of a connection whose producer has a newer one. */
export const REPLACED = 4409;

/** What close codes mean where the server has said no more; any other is a reason to come back. */
const CODES: Readonly<Record<number, Reconnect>> = {
  1000: "never",
  1008: "never",
  4401: "refresh_token",
  4403: "never",
  [REPLACED]: "never",
};

/** What follows the end of a connection. */
export function verdict(lost: Lost): Verdict {
  if (lost.how === "http") return http(lost.status, lost.retryAfter, lost.body);
  if (lost.how === "closed") return closed(lost);
  return { then: "retry", after: 0 };
}

function http(status: number, retryAfter: number | null, body: string): Verdict {
  const ended: Ended = { kind: "http", status, detail: body };
  if (status === 401) return { then: "badToken", ended };
  const isPassing = [408, 425, 429].includes(status) || (status >= 500 && status <= 599);
  return isPassing ? { then: "retry", after: retryAfter ?? 0 } : { then: "end", ended };
}

function closed({ code, reason, asked }: Lost & { how: "closed" }): Verdict {
  const ended: Ended = { kind: "dismissed", code, detail: reason };
  // What the server says in words goes before what its code usually means. Without either, as after a proxy's close,
  // coming back is right.
  const reconnect = asked?.reconnect ?? (code === null ? "now" : (CODES[code] ?? "now"));
  if (reconnect === "refresh_token") return { then: "newToken" };
  if (reconnect === "never") return code === 1008 ? { then: "badToken", ended } : { then: "end", ended };
  return { then: "retry", after: asked?.after ?? 0 };
}

/** The same for the user. */
export function describe(lost: Lost): Disconnected {
  switch (lost.how) {
    case "tooSlow":
      return { code: null, detail: "the server did not answer in time" };
    case "silent":
      return { code: null, detail: "nothing was heard from the server for too long" };
    case "http":
      return { code: null, detail: `HTTP status ${lost.status}: ${lost.body}` };
    case "closed":
      return { code: lost.code, detail: lost.reason || "closed by the server" };
    default:
      return { code: null, detail: lost.detail };
  }
}
