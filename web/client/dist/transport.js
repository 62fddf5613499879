/** Codes that stand for the lack of a close frame's code (RFC 6455 §7.4.1). */
const NO_CODE = [1005, 1006, 1015];
/**
 * WebSockets. A page can set no headers: the token goes as a subprotocol, which unlike a query is in no log, and the
 * producer's name as a query.
 */
export function webSocketTransport(WebSocket) {
    return ({ url, subprotocol, token, producerId }, events) => {
        const address = new URL(url);
        address.searchParams.set("producerId", producerId);
        const socket = new WebSocket(address.href, token === null ? [subprotocol] : [subprotocol, `bearer.${token}`]);
        socket.binaryType = "arraybuffer";
        socket.onopen = () => {
            events.opened(socket.protocol);
        };
        socket.onmessage = ({ data }) => {
            events.received(typeof data === "string" ? data : new Uint8Array(data));
        };
        socket.onclose = ({ code, reason }) => {
            events.closed(NO_CODE.includes(code) ? null : code, reason);
        };
        // The close event that follows says all there is to know.
        socket.onerror = () => undefined;
        return {
            send: (frame) => {
                socket.send(frame);
            },
            close: (code) => {
                socket.onopen = socket.onmessage = socket.onclose = null;
                socket.close(code);
            },
            get buffered() {
                return socket.bufferedAmount;
            },
        };
    };
}
//# sourceMappingURL=transport.js.map