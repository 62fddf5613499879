/** The server's HTTP API in memory, as far as publishing needs it, and what proxies in front of it do to requests. */
import { once } from "node:events";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";

interface Sent {
  id: string;
  data: Record<string, unknown>;
}

/** One request to publish. */
export interface Post {
  events: Sent[];
  bytes: number;
  url: URL;
  headers: IncomingMessage["headers"];
}

/** Answers a request to publish in the server's place: with a status and a body, by cutting it, or not at all (`null`). */
export type Meddle = (post: Post) => { status: number; body: string } | "cut" | null;

const EPOCH = "00000000000000e1";

export class ApiServer {
  /** Events that are stored, in order. */
  readonly log: Sent[] = [];
  readonly posts: Post[] = [];
  /** Requests of any kind. */
  requests = 0;
  meddle: Meddle = () => null;
  /** The server's clock, ms since 1970; `null` says nothing of it. */
  clock: number | null = null;
  private readonly server: Server;

  private constructor() {
    this.server = createServer((request, response) => {
      void this.answer(request, response);
    });
  }

  static async start(): Promise<ApiServer> {
    const server = new ApiServer();
    server.server.listen(0, "127.0.0.1");
    await once(server.server, "listening");
    return server;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1;
    response.sendDate = false;
    if (this.clock !== null) response.setHeader("Date", new Date(this.clock).toUTCString());
    const url = new URL(request.url ?? "/", "http://h");
    const json = (status: number, body: unknown): unknown => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    let text = "";
    request.setEncoding("utf8");
    for await (const part of request) text += part as string;
    if (request.method === "POST") this.publish({ events: JSON.parse(text) as Sent[], bytes: text.length, url, headers: request.headers }, response, json);
    else if (url.pathname === "/api/v1/sessions") json(200, { sessions: [] });
    else json(200, { sessionId: "s", epoch: EPOCH, headSeq: this.log.length, status: "running" });
  }

  private publish(post: Post, response: ServerResponse, json: (status: number, body: unknown) => unknown): void {
    this.posts.push(post);
    const meddled = this.meddle(post);
    if (meddled === "cut") {
      response.destroy();
      return;
    }
    if (meddled) {
      response.writeHead(meddled.status, { "Content-Type": "text/html" }).end(meddled.body);
      return;
    }
    const acks = post.events.map(({ id, data }) => {
      const at = this.log.findIndex((event) => event.id === id);
      if (at < 0) this.log.push({ id, data });
      return { originalMessageId: id, seq: at < 0 ? this.log.length : at + 1, ...(at >= 0 && { duplicate: true }) };
    });
    json(200, { sessionId: "s", epoch: EPOCH, level: "logged", acks, errors: [] });
  }
}
