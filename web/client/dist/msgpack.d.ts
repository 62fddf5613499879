/**
 * Binary frames, on the optional peer dependency `@msgpack/msgpack`. Loaded only when a client asks for
 * `format: "msgpack"`.
 */
import type { Codec } from "./codec.js";
/** MessagePack with the same fields as JSON: smaller for data with many numbers, translated at both ends. */
export declare function loadMsgpack(): Promise<Codec>;
