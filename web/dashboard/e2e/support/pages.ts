/**
 * Serves the pages of this checkout with the headers that the server gives its own, and passes `/api` and `/ws` on to the
 * server. Its HTML export is passed on, too, with the page of this checkout around its data.
 */
import { existsSync, readFileSync } from "node:fs";
import { type IncomingMessage, type Server, type ServerResponse, createServer, request } from "node:http";
import { type AddressInfo, type Socket, connect } from "node:net";
import { extname } from "node:path";
import { type Duplex, pipeline } from "node:stream";
import { fileURLToPath } from "node:url";
import type { RealServer } from "./server.js";

const DIST = fileURLToPath(new URL("../../dist/", import.meta.url));
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; connect-src 'self'; "
  + "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES: Record<string, string> = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

const BLOCK = /(<script type="application\/json" id="agentbench-export">)(.*?)(<\/script>)/s;

/** What the server exports of a session. */
export interface ExportedData {
  session: unknown;
  events: unknown[];
  evidence: Record<string, unknown>;
}

/** The server's own file of a session. */
export async function serversFile(server: RealServer, token: string, session: string): Promise<string> {
  const response = await fetch(`${server.url}/api/v1/sessions/${session}/export?format=html`, { headers: { Authorization: `Bearer ${token}` } });
  if (!response.ok) throw new Error(`the server exports no HTML (built without pages?): ${response.status} ${await response.text()}`);
  return response.text();
}

/** The server's data in the page of this checkout: the server may have been built with the pages of another one. */
export async function exportFile(server: RealServer, token: string, session: string, change: (data: ExportedData) => ExportedData = (data) => data): Promise<string> {
  const [, , block = ""] = BLOCK.exec(await serversFile(server, token, session)) ?? [];
  return fileOf(change(JSON.parse(block) as ExportedData));
}

/** Data of a session in the page of this checkout. */
export function fileOf(data: ExportedData): string {
  const json = JSON.stringify(data)
    .replaceAll(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return readFileSync(`${DIST}export.html`, "utf8").replace("/*AGENTBENCH-EXPORT*/", () => json);
}

function serveFile(path: string, response: ServerResponse): void {
  const name = path === "/" ? "index.html" : path.slice(1);
  const isOurs = /^(index\.html|favicon\.svg|assets\/[\w.-]+)$/.test(name) && existsSync(DIST + name);
  if (!isOurs) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, {
    "Content-Type": TYPES[extname(name)] ?? "application/octet-stream", "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
  });
  response.end(readFileSync(DIST + name));
}

function passOn(server: RealServer, incoming: IncomingMessage, response: ServerResponse): void {
  const { method, headers, url } = incoming;
  const onward = request({ port: server.port, host: "127.0.0.1", path: url, method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    // Either end of it takes the other along: `pipe` would leave the server with answers that the page has given up.
    pipeline(answer, response, () => undefined);
  });
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  incoming.pipe(onward);
}

/** Pages in front of a server. */
export class Pages {
  readonly #server: Server;
  readonly url: string;
  readonly #onward = new Set<Socket>();
  #isHeld = false;
  #isCut = false;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async start(real: RealServer): Promise<Pages> {
    const server = createServer((incoming, response) => {
      const url = new URL(incoming.url ?? "/", "http://localhost");
      const session = /^\/api\/v1\/sessions\/([\w-]+)\/export$/.exec(url.pathname)?.[1];
      if (session !== undefined && url.searchParams.get("format") === "html") {
        const token = (incoming.headers.authorization ?? "").replace("Bearer ", "");
        void exportFile(real, token, session)
          .then((html) => response.writeHead(200, { "Content-Type": "text/html" }).end(html), (error: unknown) => {
            console.error(error);
            response.writeHead(502).end();
          });
      } else if (url.pathname.startsWith("/api/") || url.pathname === "/healthz") passOn(real, incoming, response);
      else serveFile(url.pathname, response);
    });
    server.on("upgrade", (incoming: IncomingMessage, socket) => pages.#upgrade(real, incoming, socket));
    const pages = await new Promise<Pages>((resolve) => server.listen(0, "127.0.0.1", () => resolve(new Pages(server))));
    return pages;
  }

  /** Nothing of what the server says over WebSockets comes to the page, until it is let go. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    for (const onward of this.#onward) {
      if (isHeld) onward.pause();
      else onward.resume();
    }
  }

  /** No WebSocket gets through. */
  cut(isCut: boolean): void {
    this.#isCut = isCut;
    if (isCut) for (const onward of this.#onward) onward.destroy();
  }

  #upgrade(real: RealServer, incoming: IncomingMessage, socket: Duplex): void {
    if (this.#isCut) {
      socket.destroy();
      return;
    }
    const onward = connect(real.port, "127.0.0.1", () => {
      const headers = incoming.rawHeaders.reduce((lines, part, index) => lines + part + (index % 2 === 0 ? ": " : "\r\n"), "");
      onward.write(`GET ${incoming.url ?? "/"} HTTP/1.1\r\n${headers}\r\n`);
      socket.pipe(onward);
      onward.on("data", (bytes) => {
        if (!socket.write(bytes)) onward.pause();
      });
      socket.on("drain", () => {
        if (!this.#isHeld) onward.resume();
      });
    });
    onward.on("error", () => socket.destroy());
    socket.on("error", () => onward.destroy());
    socket.on("close", () => onward.destroy());
    this.#onward.add(onward);
    if (this.#isHeld) onward.pause();
    onward.on("close", () => {
      this.#onward.delete(onward);
      socket.destroy();
    });
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
