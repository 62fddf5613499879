import type { Now } from "./settings.js";
import type { State } from "./state.js";
/** A frame has arrived. */
export declare function received(state: State, now: Now, frame: unknown): void;
