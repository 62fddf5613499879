import type { Transport } from "./transport.js";
/** WebSockets of `ws`. */
export declare const wsTransport: Transport;
