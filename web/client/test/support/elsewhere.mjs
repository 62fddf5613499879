// A client on whatever runs this: tells what happens to it, a line each. Arguments: the address of `dist/index.js`, and of a server.
const [entry, url] = (globalThis.Deno?.args ?? process.argv.slice(2));
const { connect } = await import(entry);

const say = (line) => console.log(JSON.stringify(line));
const refused = await connect({ url: "ws://127.0.0.1:9", token: "t.o.k", transport: "websocket" }).catch((error) => error);
say({ unreachable: refused.kind });
let lost;
const isLost = new Promise((resolve) => (lost = resolve));
const client = await connect({
  url, token: "t.o.k", transport: "websocket", backoff: { base: 60_000, max: 60_000 },
  onEvent: (event) => {
    if (event.type === "connected") say({ connected: event.clientId });
    if (event.type !== "disconnected") return;
    say({ disconnected: event.code });
    lost();
  },
});
await isLost;
await client.close();
say({ state: client.state });
