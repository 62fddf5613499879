/**
 * The SDK for Node 20 and later: the same API, with a WebSocket of the package `ws` (an optional peer dependency) and a
 * durable outbox in a folder.
 *
 * @packageDocumentation
 */
import type { Client } from "./client.js";
import type { ConnectOptions } from "./config.js";
import { connect as connectAnywhere, open as openAnywhere } from "./connect.js";
import { ClientError } from "./outcome.js";
import type { Transport } from "./transport.js";

export * from "./index.js";
export { type FileOutboxOptions, fileOutbox } from "./store/file.js";

async function withTransport(options: ConnectOptions): Promise<ConnectOptions> {
  if (options.sockets || options.WebSocket || typeof options.transport === "function" || options.transport === "sse") return options;
  let sockets: Transport;
  try {
    sockets = (await import("./ws-transport.js")).wsTransport;
  } catch (cause) {
    if ("WebSocket" in globalThis) return options;
    throw new ClientError("invalid", "this Node has no WebSocket of its own: npm install ws", { cause });
  }
  return { ...options, sockets };
}

/** As `open` of `@agentbench/client`, with a WebSocket of `ws`. */
export async function open(options: ConnectOptions): Promise<Client> {
  return openAnywhere(await withTransport(options));
}

/** As `connect` of `@agentbench/client`, with a WebSocket of `ws`. */
export async function connect(options: ConnectOptions): Promise<Client> {
  return connectAnywhere(await withTransport(options));
}
