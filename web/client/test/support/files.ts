/** Serves this package's files to a browser, as any static server would. */
import { readFile } from "node:fs/promises";
import { type Server, createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".json": "application/json" };

export async function serveFiles(): Promise<{ url: string; server: Server }> {
  const server = createServer((request, response) => {
    const path = join(ROOT, normalize(new URL(request.url ?? "/", "http://here").pathname));
    readFile(path).then(
      (content) => response.setHeader("Content-Type", TYPES[extname(path)] ?? "text/plain").end(content),
      () => response.writeHead(404).end("no such file"),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}
