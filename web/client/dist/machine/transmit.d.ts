/** What is to be sent, in the order of its urgency: heartbeats, commands, joins, events. Many messages share a frame. */
import type { Frame } from "../codec.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";
/** The next frame to be sent now, if there is one. It must be handed to the open connection. */
export declare function transmit(state: State, now: Now): Frame | null;
