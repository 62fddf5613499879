/**
 * The connection machine and what goes in and out of it: for other drivers and for simulations.
 *
 * @packageDocumentation
 */
export { type Codec, type Frame, type Piece, jsonCodec } from "../codec.js";
export { type Event, makeEvent } from "../event.js";
export type { StartAt } from "./follow.js";
export { Machine, type Publish } from "./machine.js";
export type { Action, ConnectionEvent, Stats, Told, Usage } from "./outputs.js";
export type { Backoff, Now, OutboxPolicy, Settings } from "./settings.js";
