/**
 * Commands that wait for their replies. Each is sent again, under its id, on every new connection; those that are `passing` (joins, and
 * what nobody waits for) end with theirs.
 */
import { type ClientError, refused } from "../outcome.js";
import type { ErrorData, SystemMessage } from "../protocol.js";
import { amount } from "./inbound.js";
import { delay, type Now } from "./settings.js";
import type { State } from "./state.js";

/** What an answer changes, or the lack of one. */
export type Take = (answer: SystemMessage | ClientError, now: Now, command: Pending) => void;

/** One command. */
export interface Pending {
  /** `data`, JSON. */
  readonly data: string;
  readonly deadline: number;
  readonly take: Take;
  readonly isPassing: boolean;
  /** Not to be sent before; `Infinity` if nothing holds it. */
  holdUntil: number;
  /** How often it was sent. */
  sends: number;
  refusals: number;
  lastRefusal: ErrorData | null;
}

/** The server has refused a command. */
export function commandRefused(state: State, now: Now, number: number, refusal: ErrorData): void {
  const command = state.pending.get(number);
  if (!command) state.replays?.refused(number, refused(refusal));
  else if (refusal.retryable && !command.isPassing) {
    command.holdUntil = retryAt(state, now, command.refusals, refusal);
    command.refusals += 1;
    command.lastRefusal = refusal;
  } else {
    if (!command.isPassing) state.attempt = 0;
    state.pending.delete(number);
    command.take(refused(refusal), now, command);
  }
}

/** When to try again after so many refusals before, and not before the time that the server asks for. */
export function retryAt(state: State, now: Now, before: number, refusal: ErrorData): number {
  const { backoff, random } = state.settings;
  const at = now.at + amount(refusal.retryAfterMs, 0) + delay(backoff, before, random());
  state.wakeBy(at);
  return at;
}
