/**
 * The connection machine and what goes in and out of it: for other drivers and for simulations.
 *
 * @packageDocumentation
 */
export { type Codec, type Frame, type Piece, jsonCodec } from "../codec.js";
export { type Event, makeEvent } from "../event.js";
export type { StartAt } from "./follow.js";
export { type Action, Machine, type Publish, type Told } from "./machine.js";
export type { ConnectionEvent, Stats, Usage } from "./outputs.js";
export type { Backoff, Now, OutboxPolicy, Settings } from "./settings.js";
