/**
 * Serves the built pages with the headers that the server gives them, and passes `/api` and `/ws` on to the server, where
 * the server has no pages of its own in it. Stands in for its HTML export in the same way.
 */
import { existsSync, readFileSync } from "node:fs";
import { type IncomingMessage, type Server, type ServerResponse, createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { RealServer } from "./server.js";

const DIST = fileURLToPath(new URL("../../dist/", import.meta.url));
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; connect-src 'self'; "
  + "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES: Record<string, string> = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

/** The file that the server makes of a session: the template with the data in it. */
export async function exportFile(server: RealServer, token: string, session: string, parts: { evidence?: Record<string, unknown>; change?: (events: unknown[]) => unknown[] } = {}): Promise<string> {
  const headers = { Authorization: `Bearer ${token}` };
  const info = (await (await fetch(`${server.url}/api/v1/sessions/${session}`, { headers })).json()) as unknown;
  const lines = await (await fetch(`${server.url}/api/v1/sessions/${session}/events`, { headers })).text();
  const events = lines.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as unknown);
  const json = JSON.stringify({ version: 1, exportedAt: Date.now(), session: info, events: parts.change?.(events) ?? events, evidence: parts.evidence ?? {} })
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
    answer.pipe(response);
  });
  onward.on("error", () => response.destroy());
  incoming.pipe(onward);
}

/** Pages in front of a server. */
export class Pages {
  readonly #server: Server;
  readonly url: string;

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
        void exportFile(real, token, session).then((html) => response.writeHead(200, { "Content-Type": "text/html" }).end(html));
      } else if (url.pathname.startsWith("/api/")) passOn(real, incoming, response);
      else serveFile(url.pathname, response);
    });
    server.on("upgrade", (incoming: IncomingMessage, socket) => {
      const onward = connect(real.port, "127.0.0.1", () => {
        const headers = incoming.rawHeaders.reduce((lines, part, index) => lines + part + (index % 2 === 0 ? ": " : "\r\n"), "");
        onward.write(`GET ${incoming.url ?? "/"} HTTP/1.1\r\n${headers}\r\n`);
        onward.pipe(socket).pipe(onward);
      });
      onward.on("error", () => socket.destroy());
      socket.on("error", () => onward.destroy());
      socket.on("close", () => onward.destroy());
      onward.on("close", () => socket.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Pages(server);
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
