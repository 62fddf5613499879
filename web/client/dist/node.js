import { connect as connectAnywhere, open as openAnywhere } from "./connect.js";
import { ClientError } from "./outcome.js";
export * from "./index.js";
export { fileOutbox } from "./store/file.js";
async function withTransport(options) {
    if (options.transport ?? options.WebSocket)
        return options;
    let transport;
    try {
        transport = (await import("./ws-transport.js")).wsTransport;
    }
    catch (cause) {
        if ("WebSocket" in globalThis)
            return options;
        throw new ClientError("invalid", "this Node has no WebSocket of its own: npm install ws", { cause });
    }
    return { ...options, transport };
}
/** As `open` of `@agentbench/client`, with a WebSocket of `ws`. */
export async function open(options) {
    return openAnywhere(await withTransport(options));
}
/** As `connect` of `@agentbench/client`, with a WebSocket of `ws`. */
export async function connect(options) {
    return connectAnywhere(await withTransport(options));
}
//# sourceMappingURL=node.js.map