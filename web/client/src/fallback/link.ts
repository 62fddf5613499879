/**
 * A link over HTTP that looks like a WebSocket to the machine: events go by POST, followed sessions come as streams, and
 * answers are put into the words of the socket. So the outbox, the positions and the resume are the machine's, as ever.
 *
 * Whatever breaks ends the whole link, and the machine makes the next one.
 */
import type { Codec, Frame } from "../codec.js";
import type { Envelope, Position } from "../protocol.js";
import type { TransportEvents, TransportLink, TransportRequest } from "../transport.js";
import { Api, Refusal, timeIn, Unusable } from "./api.js";
import { carryOut, type Command, joinAsPublisher, pathOf } from "./commands.js";
import { Publisher } from "./publisher.js";
import { SseReader } from "./sse.js";

/** A stream that is silent for so long is dead, ms: the server writes something every 30 s, if it is not told otherwise. */
const STREAM_SILENCE = 90_000;
/** Followed sessions of a page: browsers have six connections to a server of HTTP/1.1, and requests need some. */
const MAX_STREAMS = 4;
/** The code for a token that is no longer good. */
const TOKEN_EXPIRED = 4401;

/** See the module. */
export class HttpLink implements TransportLink {
  readonly #events: TransportEvents;
  readonly #subprotocol: string;
  readonly #codec: Codec;
  readonly #api: Api;
  readonly #publisher: Publisher;
  readonly #end = new AbortController();
  readonly #streams = new Map<string, AbortController>();
  #messages = 0;

  constructor(request: TransportRequest, codec: Codec, events: TransportEvents) {
    this.#events = events;
    this.#subprotocol = request.subprotocol;
    this.#codec = codec;
    this.#api = new Api(request.url, request.token, request.producerId, request.strict);
    this.#publisher = new Publisher(this.#api, this.#end.signal, (type, data, session) => {
      this.#say(type, data, session);
    }, (error) => {
      this.#failed(error);
    });
    void this.#open();
  }

  get buffered(): number {
    return this.#publisher.waiting;
  }

  close(): void {
    this.#end.abort();
  }

  send(frame: Frame): void {
    for (const envelope of [this.#codec.decode(frame) as Envelope | Envelope[]].flat()) {
      if (envelope.type === "test_event") this.#publisher.add(envelope);
      else if (envelope.type === "heartbeat") void this.#heartbeat(envelope.id);
      else void this.#command(envelope.id, envelope.data as Command);
    }
  }

  get #isOver(): boolean {
    return this.#end.signal.aborted;
  }

  async #open(): Promise<void> {
    try {
      await this.#api.check(undefined, this.#end.signal);
    } catch (error) {
      if (this.#isOver) return;
      this.#end.abort();
      if (error instanceof Refusal) this.#events.refused(error.status, error.data.retryAfterMs ?? null, error.message);
      else this.#events.closed(null, error instanceof Error ? error.message : String(error));
      return;
    }
    if (this.#isOver) return;
    this.#events.opened(this.#subprotocol);
    const tokenExpiresAt = timeIn(this.#api.token, "exp");
    this.#say("system_message", {
      type: "connection_established", clientId: "http", server: "", node: "", protocolVersion: 1, heartbeatInterval: 30_000, tokenExpiresAt,
    });
  }

  /** The link is over. */
  #failed(error: unknown): void {
    if (this.#isOver) return;
    this.#end.abort();
    const detail = error instanceof Error ? error.message : String(error);
    this.#events.closed(error instanceof Refusal && error.status === 401 ? TOKEN_EXPIRED : null, detail);
  }

  /** A message as the server would write it on a socket. */
  #say(type: string, data: Record<string, unknown>, sessionId?: string): void {
    this.#messages += 1;
    this.#deliver(JSON.stringify({ id: `http${this.#messages}`, type, timestamp: this.#api.time, ...(sessionId && { sessionId }), data }));
  }

  #deliver(text: string): void {
    if (!this.#isOver) this.#events.received(this.#codec.join([this.#codec.encode(text)]));
  }

  async #heartbeat(id: string): Promise<void> {
    try {
      await (await this.#api.ask("healthz", { signal: this.#end.signal })).text();
      this.#say("heartbeat", { originalMessageId: id });
    } catch (error) {
      this.#failed(error);
    }
  }

  async #command(id: string, command: Command): Promise<void> {
    const session = typeof command.sessionId === "string" ? command.sessionId : "";
    const isJoin = command.command === "join_session";
    try {
      if (isJoin && command.follow !== false) {
        await this.#follow(id, session, command.from as "live" | "start" | Position);
        return;
      }
      if (isJoin || command.command === "leave_session") this.#unfollow(session);
      const answer = await (isJoin ? joinAsPublisher(this.#api, command) : carryOut(this.#api, id, command));
      this.#say("system_message", { ...answer, originalMessageId: id });
    } catch (error) {
      this.#refused(id, error, command.command === "refresh_token");
    }
  }

  /** A refusal is the command's own, unless it is about who asks; anything else ends the link. */
  #refused(id: string, error: unknown, isAboutToken = false): void {
    if (!(error instanceof Refusal) || (error.status === 401 && !isAboutToken)) return this.#failed(error);
    this.#say("error", { ...error.data, originalMessageId: id });
  }

  #unfollow(session: string): void {
    this.#streams.get(session)?.abort();
    this.#streams.delete(session);
  }

  async #follow(id: string, session: string, from: "live" | "start" | Position): Promise<void> {
    this.#unfollow(session);
    if (this.#streams.size >= MAX_STREAMS && !("process" in globalThis)) {
      const error = `over HTTP a page can follow at most ${MAX_STREAMS} sessions at a time: the browser has no connection left for more`;
      this.#refused(id, new Refusal(429, { error, code: "session_limit", retryable: false }));
      return;
    }
    const stop = new AbortController();
    this.#streams.set(session, stop);
    const place = typeof from === "string" ? from : [from.epoch, from.seq, ...(from.lastId ? [from.lastId] : [])].join(":");
    const { token } = this.#api;
    try {
      const signal = AbortSignal.any([stop.signal, this.#end.signal]);
      const headers = { Accept: "text/event-stream" };
      const response = await this.#api.send(`${pathOf(session)}/stream?stay=1&from=${encodeURIComponent(place)}`, { headers, signal });
      await this.#read(response, id, stop, token);
      if (!stop.signal.aborted) this.#failed(new Unusable(200, "the stream was cut"));
    } catch (error) {
      if (stop.signal.aborted || this.#isOver) return;
      this.#unfollow(session);
      this.#refused(id, error);
    }
  }

  async #read(response: Response, id: string, stop: AbortController, token: string | null): Promise<void> {
    let isFirst = true;
    const reader = new SseReader((data, event) => {
      if (stop.signal.aborted) return;
      // The session has ended and all of it was sent: there is nothing to come back for.
      if (event === "end") stop.abort();
      // A load balancer answers for a server that is away; with 200, since an `EventSource` would give up on anything else.
      if (event === "unavailable") return this.#failed(new Unusable(503, `the server is unavailable: ${data}`));
      // Of a later version.
      if (event !== "message") return;
      if (isFirst) data = answerTo(id, data);
      isFirst = false;
      // A stream that was begun with an older token ends with it: that asks only for another stream.
      if (token !== this.#api.token && data.includes(`"code":${TOKEN_EXPIRED}`)) return this.#failed(new Unusable(200, "the token was renewed"));
      this.#deliver(data);
    });
    const body = response.body?.getReader();
    const decoder = new TextDecoder();
    while (body && !stop.signal.aborted) {
      const piece = await withinSilence(body.read());
      if (piece.done) return;
      this.#events.heard();
      reader.push(decoder.decode(piece.value, { stream: true }));
    }
  }
}

/** The stream's first message is the answer to a join; whose, only this end knows. */
function answerTo(id: string, message: string): string {
  const joined = JSON.parse(message) as Envelope;
  return JSON.stringify({ ...joined, data: { ...joined.data, type: "session_joined", originalMessageId: id } });
}

function withinSilence<T>(reading: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Unusable(200, "nothing was heard on a stream for too long"));
    }, STREAM_SILENCE);
    reading.then(resolve, reject).finally(() => {
      clearTimeout(timer);
    });
  });
}
