/**
 * The connection machine and what goes in and out of it: for other drivers and for simulations.
 *
 * @packageDocumentation
 */
export { jsonCodec } from "../codec.js";
export { makeEvent } from "../event.js";
export { Machine } from "./machine.js";
//# sourceMappingURL=index.js.map