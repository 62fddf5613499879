/**
 * The SDK for Node 20 and later: the same API, with a WebSocket of the package `ws` (an optional peer dependency) and a
 * durable outbox in a folder.
 *
 * @packageDocumentation
 */
import type { Client } from "./client.js";
import type { ConnectOptions } from "./config.js";
export * from "./index.js";
export { type FileOutboxOptions, fileOutbox } from "./store/file.js";
/** As `open` of `@agentbench/client`, with a WebSocket of `ws`. */
export declare function open(options: ConnectOptions): Promise<Client>;
/** As `connect` of `@agentbench/client`, with a WebSocket of `ws`. */
export declare function connect(options: ConnectOptions): Promise<Client>;
