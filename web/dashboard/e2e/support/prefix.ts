/** A proxy that shows a server below a path, and takes the path off before it passes requests on. */
import { type Server, createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { pipeline } from "node:stream";

export class PrefixProxy {
  readonly #server: Server;
  /** The address of the path, with a slash at its end. */
  readonly url: string;
  /** Paths that were asked for and are not below the path. */
  readonly strays: string[];

  private constructor(server: Server, prefix: string, strays: string[]) {
    [this.#server, this.strays] = [server, strays];
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${prefix}/`;
  }

  /** `prefix` begins with a slash and ends without one; `target` is the origin of the server behind it. */
  static async start(target: string, prefix: string): Promise<PrefixProxy> {
    const { hostname, port } = new URL(target);
    const strays: string[] = [];
    /** The path at the target; nothing for one that is not below the prefix. */
    const inner = (path = "/"): string | null => {
      if (path.startsWith(`${prefix}/`)) return path.slice(prefix.length);
      strays.push(path);
      return null;
    };
    const server = createServer((incoming, response) => {
      const path = inner(incoming.url);
      if (path === null) {
        response.writeHead(404).end();
        return;
      }
      const onward = request({ host: hostname, port, path, method: incoming.method, headers: incoming.headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        pipeline(answer, response, () => undefined);
      });
      onward.on("error", () => response.destroy());
      response.on("close", () => onward.destroy());
      incoming.pipe(onward);
    });
    server.on("upgrade", (incoming, socket) => {
      const path = inner(incoming.url);
      if (path === null) {
        socket.destroy();
        return;
      }
      const onward = connect(Number(port), hostname, () => {
        const headers = incoming.rawHeaders.reduce((lines, part, index) => lines + part + (index % 2 === 0 ? ": " : "\r\n"), "");
        onward.write(`GET ${path} HTTP/1.1\r\n${headers}\r\n`);
        socket.pipe(onward).pipe(socket);
      });
      onward.on("error", () => socket.destroy());
      socket.on("error", () => onward.destroy());
      socket.on("close", () => onward.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new PrefixProxy(server, prefix, strays);
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
