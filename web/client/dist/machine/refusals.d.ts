/** What the server's refusals change: commands, joins and events that are tried again, or are not. */
import { type ClientError } from "../outcome.js";
import { type Incoming } from "./inbound.js";
import { type Now } from "./settings.js";
import type { State } from "./state.js";
/** An `error` message has arrived. */
export declare function takeError(state: State, now: Now, message: Incoming): void;
/** A join was refused: asked for again at `retry`, or for good. */
export declare function joinFailed(state: State, session: string, error: ClientError, retry: number | null): void;
