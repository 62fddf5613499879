import type { Codec } from "./codec.js";
/** MessagePack with the same fields as JSON: smaller for data with many numbers, translated at both ends. */
export declare const msgpackCodec: Codec;
