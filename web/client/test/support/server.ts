/** A server in memory: sessions with a log, one connection, no time of its own, and faults that a test can ask for. */
import { type Codec, jsonCodec } from "../../src/codec.js";
import type { ErrorCode, Position, Reconnect } from "../../src/protocol.js";

export const HEARTBEAT_MS = 30_000;

type Fields = Record<string, unknown>;

interface Entry {
  id: string;
  envelope: Fields;
}

interface Hosted {
  id: string;
  epoch: string;
  log: Entry[];
  status: string;
}

/** What the server does wrong, or refuses. */
export interface Faults {
  /** Refuses every n-th publish for now. */
  refuseEvery?: number;
  /** With this code. */
  refuseWith?: ErrorCode;
  /** Keeps the producer's order after a refusal, as the real server does: later events wait for the refused one. */
  keepsOrder?: boolean;
  /** Delivers everything twice. */
  deliverTwice?: boolean;
  /** Leaves this seq out of the deliveries. */
  leaveOut?: number;
  /** Says and does nothing. */
  isSilent?: boolean;
  /** Takes tokens other than this one for bad. */
  token?: string;
}

/** How a connection to it ended. */
export interface Closing {
  code: number;
  reason: string;
}

export class Server {
  faults: Faults = {};
  /** Every envelope that was understood, as `type id`. */
  seen: string[] = [];
  tokens: (string | null)[] = [];
  codec: Codec = jsonCodec;
  private sessions = new Map<string, Hosted>();
  private replies = new Map<string, Fields>();
  private follows: Map<string, number> | null = null;
  private joined = new Set<string>();
  private out: unknown[] = [];
  private closing: Closing | null = null;
  private publishes = 0;
  private messages = 0;
  private connections = 0;
  private maxPayload = 1_000_000;
  private awaited = new Map<string, string>();

  accept(token: string | null): void {
    this.cut();
    this.connections += 1;
    this.follows = new Map();
    this.joined = new Set();
    this.tokens.push(token);
    if (this.faults.isSilent) return;
    if (this.faults.token !== undefined && this.faults.token !== token) return this.close(1008);
    this.say({
      type: "connection_established", clientId: `c${this.connections}`, server: "model", node: "n", protocolVersion: 1,
      heartbeatInterval: HEARTBEAT_MS, maxPayload: this.maxPayload, tokenExpiresAt: 1_000_000, ackLevel: "logged",
    });
  }

  cut(): void {
    this.follows = null;
    this.out = [];
    this.closing = null;
    this.awaited.clear();
  }

  /** Comes back with nothing but its log. */
  restart(): void {
    this.cut();
    this.replies.clear();
  }

  /** Frames for the client. */
  takeOutput(): unknown[] {
    return this.out.splice(0);
  }

  takeClosing(): Closing | null {
    const { closing } = this;
    this.closing = null;
    return closing;
  }

  close(code: number): void {
    this.closing = { code, reason: "closed" };
  }

  disconnecting(code: number, reconnect: Reconnect, afterMs?: number): void {
    this.say({ type: "disconnecting", code, cause: "cause", detail: "as the test wants it", reconnect, ...(afterMs !== undefined && { afterMs }) });
    this.close(code);
  }

  get sessionIds(): string[] {
    return [...this.sessions.keys()];
  }

  /** The session's entries in the log's order. */
  log(session: string): Fields[] {
    return (this.sessions.get(session)?.log ?? []).map(({ envelope }) => envelope);
  }

  /** Makes a session without a client, with `events` in it. */
  prepare(events: number): string {
    const session = `prepared-${this.sessions.size}`;
    this.create(session, "prepared");
    for (let number = 0; number < events; number += 1) this.append(session, `p${number}`, { prepared: true }, "test_event");
    return session;
  }

  /** Appends an event, as another producer. */
  publish(session: string, id: string, data: Fields = {}): void {
    this.append(session, id, data, "test_event");
    this.deliver(session);
  }

  /** Ends a session: `completed`, `error` or `expired`. */
  end(session: string, status: string): void {
    const type = status === "expired" ? "session_expired" : "session_stopped";
    this.append(session, `end-${session}`, { type, from: "running", status, sessionId: session }, "system_message");
    this.sessions.get(session)!.status = status;
    this.deliver(session);
  }

  /** Comes back with the log of an earlier life: `keep` entries, and another epoch if asked for. */
  loseTail(session: string, keep: number, epoch: string): void {
    this.cut();
    const hosted = this.sessions.get(session)!;
    hosted.log.length = keep;
    hosted.epoch = epoch;
  }

  /** A frame from the client. */
  received(frame: unknown): void {
    const decoded = this.codec.decode(frame);
    for (const envelope of (Array.isArray(decoded) ? decoded : [decoded]) as Fields[]) {
      this.seen.push(`${envelope.type as string} ${envelope.id as string}`);
      if (this.faults.isSilent) continue;
      if (envelope.type === "test_event") this.takeEvent(envelope);
      else if (envelope.type === "heartbeat") this.send("heartbeat", { originalMessageId: envelope.id, serverTime: 5 });
      else this.takeCommand(envelope);
    }
  }

  private takeEvent(envelope: Fields): void {
    const [session, id] = [envelope.sessionId as string, envelope.id as string];
    const hosted = this.sessions.get(session);
    if (!hosted || !this.joined.has(session)) return this.refuse(id, "not_a_participant", false);
    const awaited = this.awaited.get(session);
    if (awaited !== undefined && awaited !== id) return this.refuse(id, "overloaded");
    this.publishes += 1;
    if (this.faults.refuseEvery !== undefined && this.publishes % this.faults.refuseEvery === 0) {
      if (this.faults.keepsOrder) this.awaited.set(session, id);
      return this.refuse(id, this.faults.refuseWith ?? "overloaded");
    }
    this.awaited.delete(session);
    const at = hosted.log.findIndex((entry) => entry.id === id);
    if (at < 0) this.append(session, id, envelope.data as Fields, "test_event");
    const { requiresAck } = envelope.metadata as { requiresAck: boolean };
    const seq = at < 0 ? hosted.log.length : at + 1;
    if (requiresAck) this.say({ type: "ack", originalMessageId: id, sessionId: session, seq, epoch: hosted.epoch, level: "logged", ...(at >= 0 && { duplicate: true }) });
    this.deliver(session);
  }

  private refuse(id: string, code: ErrorCode, retryable = ["overloaded", "rate_limited", "log_unavailable"].includes(code)): void {
    this.send("error", { error: "no", code, originalMessageId: id, retryable });
  }

  private takeCommand(envelope: Fields): void {
    const id = envelope.id as string;
    const data = envelope.data as Fields;
    const session = data.sessionId as string;
    switch (data.command) {
      case "create_session": {
        const name = `s-${id}`;
        if (!this.sessions.has(name)) this.create(name, id);
        this.joined.add(name);
        return this.say({ type: "session_created", originalMessageId: id, sessionId: name, epoch: this.sessions.get(name)!.epoch, session: this.info(name) });
      }
      case "join_session":
        return this.join(session, id, data.follow === true, data.from as Position | string | undefined);
      case "leave_session":
        this.follows?.delete(session);
        this.joined.delete(session);
        return this.say({ type: "session_left", originalMessageId: id, sessionId: session });
      case "start_test":
        return this.startTest(session, id);
      case "refresh_token":
        this.tokens.push(`refreshed ${data.token as string}`);
        return this.say({ type: "token_refreshed", originalMessageId: id, tokenExpiresAt: 2_000_000 });
      default:
        throw new Error(`the tests do not send ${String(data.command)}`);
    }
  }

  private startTest(session: string, id: string): void {
    const hosted = this.sessions.get(session)!;
    const before = hosted.log.findIndex((entry) => entry.id === id);
    if (before < 0 && hosted.status !== "idle") return this.refuse(id, "invalid_transition");
    const step = { type: "session_started", from: "idle", status: "running", sessionId: session };
    if (before < 0) this.append(session, id, step, "system_message");
    hosted.status = "running";
    this.say({ ...step, originalMessageId: id, seq: before < 0 ? hosted.log.length : before + 1 });
    this.deliver(session);
  }

  private create(session: string, id: string): void {
    this.sessions.set(session, { id: session, epoch: "epoch-7", log: [], status: "idle" });
    this.append(session, id, { type: "session_created", sessionId: session }, "system_message");
  }

  private info(session: string): Fields {
    return { sessionId: session, headSeq: this.sessions.get(session)!.log.length, status: this.sessions.get(session)!.status, participants: [] };
  }

  private join(session: string, command: string, follow: boolean, from: Position | string | undefined): void {
    const hosted = this.sessions.get(session);
    if (!hosted) return this.refuse(command, "session_not_found");
    const head = hosted.log.length;
    this.joined.add(session);
    this.follows?.delete(session);
    const { after, reason, gap } = this.resolve(hosted, from);
    if (follow) this.follows?.set(session, after + 1);
    this.say({
      type: "session_joined", originalMessageId: command, sessionId: session, epoch: hosted.epoch, headSeq: head,
      from: { epoch: hosted.epoch, seq: after }, recovered: reason === null, ...(reason !== null && { reason }), session: this.info(session),
    });
    if (follow && gap) this.say({ type: "gap", sessionId: session, fromSeq: gap[0], toSeq: gap[1], cause: reason === "unknown_epoch" ? "epoch" : "diverged", history: false });
    this.deliver(session);
  }

  private resolve(hosted: Hosted, from: Position | string | undefined): { after: number; reason: string | null; gap: [number, number] | null } {
    const head = hosted.log.length;
    if (from === "start") return { after: 0, reason: null, gap: null };
    if (from === undefined || typeof from === "string") return { after: head, reason: null, gap: null };
    if (from.epoch !== hosted.epoch) return { after: 0, reason: "unknown_epoch", gap: [1, from.seq] };
    if (from.seq > head) return { after: head, reason: "ahead_of_log", gap: [head + 1, from.seq] };
    const there = hosted.log[from.seq - 1]?.id;
    if (from.lastId != null && there !== undefined && there !== from.lastId) return { after: 0, reason: "diverged", gap: [1, from.seq] };
    return { after: from.seq, reason: null, gap: null };
  }

  private append(session: string, id: string, data: Fields, type: string): void {
    const { log } = this.sessions.get(session)!;
    const sender = { clientId: "c", userId: "u", username: "Ann", role: "evaluator" };
    log.push({ id, envelope: { id, type, timestamp: 1, sessionId: session, data, seq: log.length + 1, receivedAt: 7, sender } });
  }

  private deliver(session: string): void {
    const next = this.follows?.get(session);
    const { log } = this.sessions.get(session)!;
    if (next === undefined) return;
    const due = log.slice(next - 1).filter((_, index) => this.faults.leaveOut !== next + index).map(({ envelope }) => envelope);
    const sent = this.faults.deliverTwice ? due.flatMap((envelope) => [envelope, envelope]) : due;
    this.follows?.set(session, log.length + 1);
    if (sent.length > 0) this.put(sent.length === 1 ? sent[0] : sent);
  }

  /** Says any system message. */
  say(data: Fields): void {
    this.send("system_message", data);
  }

  send(type: string, data: Fields): void {
    this.messages += 1;
    this.put({ id: `m${this.messages}`, type, timestamp: 2, data });
  }

  private put(content: unknown): void {
    if (!this.follows) return;
    const pieces = (Array.isArray(content) ? content : [content]).map((envelope) => this.codec.encode(JSON.stringify(envelope)));
    this.out.push(this.codec.join(pieces));
  }
}
