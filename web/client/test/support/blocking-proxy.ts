/** A proxy as companies have them: HTTP gets through, upgrades do not. */
import { type IncomingMessage, type Server, type ServerResponse, createServer, request } from "node:http";
import { type AddressInfo, type Socket, connect } from "node:net";
import type { Duplex } from "node:stream";

/** What it does with an upgrade: cuts the connection, answers it as plain HTTP, or lets it through. */
export type Upgrades = "cut" | "answer" | "pass";

export class BlockingProxy {
  upgrades: Upgrades;
  /** Upgrades that were asked for. */
  asked = 0;
  /** Requests that got through, by method and path without names. */
  readonly seen: string[] = [];
  private readonly server: Server;
  private readonly sockets = new Set<Duplex>();
  private readonly target: () => URL;

  private constructor(target: () => string, upgrades: Upgrades) {
    this.upgrades = upgrades;
    this.target = () => new URL(target().replace("ws:", "http:"));
    this.server = createServer((asked, answer) => {
      this.forward(asked, answer);
    });
    this.server.on("upgrade", (asked: IncomingMessage, socket: Duplex) => {
      this.upgrade(asked, socket);
    });
    this.server.on("connection", (socket) => {
      this.keep(socket);
    });
  }

  /** Starts one in front of an address, which is asked for anew for each request. */
  static async start(target: () => string, upgrades: Upgrades = "cut"): Promise<BlockingProxy> {
    const proxy = new BlockingProxy(target, upgrades);
    await new Promise<void>((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Cuts everything that is open. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  stop(): void {
    this.cut();
    this.server.close();
  }

  private keep(socket: Duplex): void {
    this.sockets.add(socket);
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("error", () => socket.destroy());
  }

  private forward(asked: IncomingMessage, answer: ServerResponse): void {
    const { hostname, port } = this.target();
    this.seen.push(`${asked.method ?? ""} ${(asked.url ?? "").replace(/\?.*/, "").replace(/[0-9a-f-]{36}/, "ID")}`);
    const onward = request({ hostname, port, method: asked.method, path: asked.url, headers: asked.headers }, (reply) => {
      answer.writeHead(reply.statusCode ?? 502, reply.headers);
      answer.flushHeaders();
      reply.pipe(answer);
      reply.on("error", () => answer.destroy());
    });
    onward.on("socket", (socket) => {
      if (!this.sockets.has(socket)) this.keep(socket);
    });
    // As a proxy answers for a server that is not there.
    onward.on("error", () => {
      if (answer.headersSent) answer.destroy();
      else answer.writeHead(502, { "Content-Type": "text/html" }).end("<h1>Bad Gateway</h1>");
    });
    answer.on("close", () => onward.destroy());
    asked.pipe(onward);
  }

  private upgrade(asked: IncomingMessage, socket: Duplex): void {
    this.asked += 1;
    if (this.upgrades === "cut") socket.destroy();
    else if (this.upgrades === "answer") socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nConnection: close\r\n\r\nblocked");
    else {
      const { hostname, port } = this.target();
      const onward: Socket = connect(Number(port), hostname, () => {
        const lines = asked.rawHeaders.flatMap((name, at, all) => (at % 2 === 0 ? [`${name}: ${all[at + 1] ?? ""}`] : []));
        onward.write(`GET ${asked.url ?? "/"} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
        socket.pipe(onward).pipe(socket);
      });
      this.keep(onward);
      onward.on("close", () => socket.destroy());
      socket.on("close", () => onward.destroy());
    }
  }
}
