/** Files that events name by their hash: uploaded once, in parts, over cuts and a crash of the server. */
import { createServer, type Server, request } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evidenceHash, uploadEvidence } from "../src/evidence.js";
import { type Client, type Session, connect } from "../src/node.js";
import { RealServer } from "./support/real-server.js";

/** Bytes that differ from place to place. */
function bytes(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, at) => (at * 31 + (at >> 8) * 7) & 255);
}

test("the hash is BLAKE3, as its authors' test vectors have it", () => {
  expect(evidenceHash(new Uint8Array())).toBe("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
  expect(evidenceHash(Uint8Array.of(0))).toBe("2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213");
});

describe("with the real server", () => {
  let server: RealServer;
  let token: string;
  let client: Client;
  let session: Session;

  beforeAll(async () => {
    server = await RealServer.start();
    token = server.token("--user", "ann", "--role", "evaluator");
    client = await connect({ url: server.url, token, backoff: { base: 20, max: 200 } });
    session = await client.create({ projectId: "p", testId: "t", agentName: "a" });
  });

  afterAll(async () => {
    await client.close();
    await server.remove();
  });

  const to = (more: object = {}) => ({ url: server.url, token, sessionId: session.id, contentType: "image/png", ...more });

  /** What the server has stored. */
  async function stored(hash: string): Promise<Uint8Array> {
    const address = `${server.url.replace("ws", "http")}/api/v1/evidence/${hash}?sessionId=${session.id}`;
    const response = await fetch(address, { headers: { Authorization: `Bearer ${token}` } });
    expect(response.status).toBe(200);
    return new Uint8Array(await response.arrayBuffer());
  }

  test("a file is stored whole, told part by part, and not sent again", async () => {
    const data = bytes(2_500_000);
    const told: number[] = [];
    const file = await uploadEvidence(data, to({ onProgress: (sent: number) => told.push(sent) }));
    expect(file).toEqual({ hash: evidenceHash(data), contentType: "image/png", size: data.length });
    expect(Buffer.compare(await stored(file.hash), data)).toBe(0);
    expect(told).toEqual([0, 1 << 20, 2 << 20, data.length]);
    told.length = 0;
    await uploadEvidence(new Blob([data.slice()], { type: "image/png" }), to({ contentType: undefined, onProgress: (sent: number) => told.push(sent) }));
    expect(told).toEqual([data.length]);
  });

  test("an upload goes on after a crash of the server and through cuts", async () => {
    const data = bytes(3_300_001);
    const proxy = await Cutter.start(() => server.url, 3);
    const kills: string[] = [];
    const file = await uploadEvidence(data, to({
      url: proxy.url,
      token: async () => {
        // Between two parts: the server dies, and comes back with what it had.
        if (proxy.passed >= 2 && kills.length === 0) {
          kills.push("SIGKILL");
          await server.down("SIGKILL");
          await server.up();
        }
        return token;
      },
    }));
    proxy.stop();
    expect(kills.length === 1 && proxy.cut > 0).toBe(true);
    expect(Buffer.compare(await stored(file.hash), data)).toBe(0);
  });

  test("what is refused says why, and is not tried again", async () => {
    const small = bytes(10);
    await expect(uploadEvidence(small, to({ contentType: "text/html" }))).rejects.toMatchObject({ kind: "refused", retryable: false });
    const foreign = server.token("--user", "eve", "--role", "evaluator", "--project", "other");
    await expect(uploadEvidence(small, to({ token: foreign }))).rejects.toMatchObject({ kind: "refused", retryable: false, refusal: { code: "session_not_found" } });
    await expect(uploadEvidence(small, to({ token: "x.y.z" }))).rejects.toMatchObject({ kind: "refused", retryable: false, refusal: { code: "not_authenticated" } });
    await expect(uploadEvidence(bytes(20 << 20), to())).rejects.toMatchObject({ kind: "refused" });
    await expect(uploadEvidence(small, to({ signal: AbortSignal.abort() }))).rejects.toMatchObject({ kind: "ended" });
  });
});

/** Passes requests on, and cuts every n-th in the middle of its body. */
class Cutter {
  /** Requests with a body that were passed on whole, and that were cut. */
  passed = 0;
  cut = 0;
  private count = 0;

  private constructor(private readonly server: Server) {}

  static async start(upstream: () => string, every: number): Promise<Cutter> {
    const server = createServer((incoming, answer) => {
      const { port } = new URL(upstream().replace("ws", "http"));
      const isCut = incoming.method === "PUT" && ++cutter.count % every === 2;
      const outgoing = request({ port, path: incoming.url, method: incoming.method, headers: incoming.headers }, (response) => {
        if (incoming.method === "PUT") cutter.passed += 1;
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
      });
      outgoing.on("error", () => answer.destroy());
      if (!isCut) {
        incoming.pipe(outgoing);
        return;
      }
      let seen = 0;
      incoming.on("data", (chunk: Buffer) => {
        seen += chunk.length;
        if (seen < 300_000) outgoing.write(chunk);
        else if (!answer.destroyed) {
          cutter.cut += 1;
          outgoing.destroy();
          answer.destroy();
        }
      });
    });
    const cutter = new Cutter(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return cutter;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}
