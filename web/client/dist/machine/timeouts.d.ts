import type { Now } from "./settings.js";
import type { State } from "./state.js";
/** Does what is due. A call too many does no harm. */
export declare function timeout(state: State, now: Now): void;
