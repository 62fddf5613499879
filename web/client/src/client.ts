/** The API: a client, what it publishes and follows. */
import { utf8Length } from "./codec.js";
import { type ClientEvent, type ConnectOptions, checkOptions, settingsOf } from "./config.js";
import { transportOf } from "./auto.js";
import { Commands, normal } from "./commands.js";
import { Driver } from "./driver.js";
import { type PublishOptions, makeEvent } from "./event.js";
import { Follow, listen } from "./follow.js";
import { Intake } from "./intake.js";
import type { Item, Metadata } from "./item.js";
import type { StartAt } from "./machine/follow.js";
import type { Stats, Told, Usage } from "./machine/outputs.js";
import { close, command, follow as begin, join, leave, publish, setPaused, start, unfollow } from "./machine/requests.js";
import type { Now, Settings } from "./machine/settings.js";
import { State } from "./machine/state.js";
import type { ClientError, Ended, Outcome } from "./outcome.js";
import type { CreateSession, Joined, SystemMessage } from "./protocol.js";
import type { Replay, ReplayOptions } from "./replay.js";
import { expectReply } from "./replies.js";
import { randomName } from "./random.js";
import { Session } from "./session.js";
import type { OpenedStore, StoredEvent } from "./store/store.js";
import type { ClientState, ClientTransport, Ticket } from "./ticket.js";
import type { Transport } from "./transport.js";

interface Waiting {
  resolve: (reply: SystemMessage) => void;
  reject: (error: ClientError) => void;
}

interface Publishing {
  id: string;
  told: (outcome: Outcome) => void;
}

/**
 * A client of one server, over one connection at a time that it makes again whenever it is lost. Made by `connect` or
 * `open`; lives until `close`, or until it ends for good.
 */
export class Client extends Commands {
  /** Name of this producer. */
  readonly producerId: string;
  readonly #state: State;
  readonly #driver: Driver;
  readonly #store: OpenedStore | null;
  readonly #intake: Intake;
  readonly #options: ConnectOptions;
  readonly #listeners = new Set<(event: ClientEvent) => void>();
  readonly #replies = new Map<number, Waiting>();
  readonly #tickets = new Map<number, Publishing>();
  readonly #follows = new Map<number, Follow>();
  #emptied: (() => void)[] = [];
  #lastKey = 0;
  #transport: () => ClientTransport = () => "websocket";

  private constructor(options: ConnectOptions, settings: Settings, transport: Transport, store: OpenedStore | null) {
    super();
    this.#options = options;
    this.producerId = store?.producerId ?? options.producerId ?? randomName();
    this.#store = store;
    this.#state = new State(settings);
    this.#driver = new Driver(this.#state, {
      transport,
      request: { url: options.url, subprotocol: settings.codec.subprotocol, producerId: this.producerId },
      fetchToken: async () => (await options.tokenProvider?.()) ?? "",
      mayConnect: () => this.#store?.check() ?? Promise.resolve(),
      tell: (told) => {
        this.#hear(told);
      },
      rest: () => {
        this.#intake.move();
        if (this.#isEmpty()) for (const resolve of this.#emptied.splice(0)) resolve();
      },
    });
    this.#intake = new Intake(this.#state, this.#driver, this.#store, settings.outboxPolicy === "wait");
    if (options.onEvent) this.#listeners.add(options.onEvent);
    this.#store?.onFenced(({ message }) => {
      this.#end({ kind: "fenced", detail: message });
    });
  }

  /** @internal */
  static async open(options: ConnectOptions): Promise<Client> {
    checkOptions(options);
    const settings = await settingsOf(options);
    let transport: ClientTransport = options.transport === "sse" ? "sse" : "websocket";
    const told: ((event: ClientEvent) => void)[] = [];
    const carrier = transportOf(options, (name, detail) => {
      transport = name;
      for (const tell of told) tell({ type: "transport", transport: name, detail });
    });
    // Last, since it fences the owner before.
    const store = (await options.outbox?.open(options.producerId ?? null)) ?? null;
    const client = new Client(options, settings, carrier, store);
    client.#transport = () => transport;
    told.push((event) => {
      client.#emit(event);
    });
    for (const event of store?.events ?? []) client.#resend(event);
    client.#driver.run(start);
    return client;
  }

  /** Creates a session. The client takes part in it as a publisher. */
  async create(session: Omit<CreateSession, "follow">): Promise<Session> {
    const reply = expectReply(await this.command({ ...session, command: "create_session" }), "session_created");
    return new Session(this, reply.session);
  }

  /** Joins a session to publish in it, for as long as the client lives. */
  async join(sessionId: string): Promise<Session> {
    const reply = await this.#expect(null, join, normal(sessionId));
    return new Session(this, expectReply(reply, "session_joined").session);
  }

  /**
   * Follows a session from a place in its log: `"live"`, `"start"` or a position. At most one follow of a session at a time on
   * one client. With a listener, it is called for each item; what it throws ends the follow, and is reported as an unhandled
   * rejection.
   */
  async follow(sessionId: string, from: StartAt, listener?: (item: Item) => unknown): Promise<Follow> {
    const [session, key] = [normal(sessionId), this.#newKey()];
    const follow = new Follow(session, Math.max(this.#options.followBuffer ?? 1024, 1), {
      pause: (isPaused) => {
        this.#driver.run(setPaused, session, key, isPaused);
      },
      leave: () => {
        this.#unfollow(session, key);
      },
    });
    this.#follows.set(key, follow);
    try {
      const reply = await this.#expect((joined) => {
        follow.setJoined(joined as SystemMessage & Joined);
      }, begin, key, session, from);
      expectReply(reply, "session_joined");
    } catch (error) {
      this.#unfollow(session, key);
      throw error;
    }
    if (listener) void listen(follow, listener);
    return follow;
  }

  /**
   * Replays a session, from `fromSeq` to the end that its log has now, at `speed` times its own pace. At most one replay of a
   * session at a time on one client.
   */
  async replaySession(sessionId: string, options: ReplayOptions = {}): Promise<Replay> {
    const { startReplay } = await import("./replay.js");
    return startReplay(normal(sessionId), options, {
      buffer: this.#options.followBuffer ?? 1024,
      state: this.#state,
      key: this.#newKey(),
      follows: this.#follows,
      driver: this.#driver,
      expect: (ask) => this.#expect(null, ask),
    });
  }

  #unfollow(session: string, key: number): void {
    this.#follows.delete(key);
    this.#driver.run(unfollow, session, key);
  }

  /** Leaves a session: what waits to be published there is given up, its follow ends. */
  async leave(sessionId: string): Promise<void> {
    expectReply(await this.#expect(null, leave, normal(sessionId)), "session_left");
  }

  /** Sends any command and gives its reply. It is sent again after a reconnect, under the same id. */
  override command(data: { command: string } & Record<string, unknown>): Promise<SystemMessage> {
    return this.#expect(null, command, data);
  }

  /** Publishes an event, and gives what became of it: stored, refused or unknown. */
  async publish(sessionId: string, data: Record<string, unknown>, options: PublishOptions = {}): Promise<Outcome> {
    return (await this.enqueue(sessionId, data, options)).outcome;
  }

  /**
   * Puts an event into the outbox. Resolves when it is there (and, with a durable outbox, is there after a crash); the ticket
   * tells what becomes of it. The client joins the session as a publisher if it has not. Rejects with `invalid`,
   * `outboxFull`, `ended`, `fenced` or `store`.
   */
  enqueue(sessionId: string, data: Record<string, unknown>, options: PublishOptions = {}): Promise<Ticket> {
    return this.#put(sessionId, data, options, true);
  }

  /** Puts an event into the outbox without asking for an ack: what becomes of it is not told. A durable outbox asks all the same. */
  async publishUnacked(sessionId: string, data: Record<string, unknown>, options: PublishOptions = {}): Promise<void> {
    await this.#put(sessionId, data, options, this.#store !== null);
  }

  #put(sessionId: string, data: Record<string, unknown>, options: PublishOptions, wantsAck: boolean): Promise<Ticket> {
    return new Promise((resolve, reject) => {
      const event = makeEvent(data, options);
      const id = options.id ?? this.#state.newId("-");
      const ticket = this.#newKey();
      const outcome = new Promise<Outcome>((told) => {
        if (wantsAck) this.#tickets.set(ticket, { id, told });
      });
      this.#intake.add({
        session: normal(sessionId), id, event, ticket: wantsAck ? ticket : null, timestamp: Date.now(),
        accepted: () => {
          resolve({ id, outcome });
        },
        kept: (ended) => {
          resolve({ id, outcome });
          this.#tickets.get(ticket)?.told({ status: "unknown", why: { kind: "ended", ended }, sent: false });
          this.#tickets.delete(ticket);
        },
        rejected: (error) => {
          this.#tickets.delete(ticket);
          reject(error);
        },
      });
    });
  }

  /** Takes an event that an earlier client has left. */
  #resend({ sessionId, id, timestamp, data, metadata }: StoredEvent): void {
    const ticket = this.#newKey();
    this.#tickets.set(ticket, {
      id,
      told: (outcome) => {
        this.#emit({ type: "recovered", sessionId, id, outcome });
      },
    });
    const event = { data, bytes: utf8Length(data), metadata: JSON.parse(metadata) as Metadata };
    this.#driver.run(publish, { session: sessionId, id, event, ticket, recoveredFrom: timestamp });
  }

  /** Waits until the outbox is empty: every publish has its outcome. */
  flush(): Promise<void> {
    if (this.#isEmpty()) return Promise.resolve();
    return new Promise((resolve) => this.#emptied.push(resolve));
  }

  #isEmpty(): boolean {
    return this.#state.ended !== null || (this.#state.usage.messages === 0 && this.#intake.isEmpty);
  }

  /**
   * Closes the client: waits for what is in the outbox, for `closeTimeout` at most, then says goodbye. What has no outcome by
   * then is `unknown`; a durable outbox keeps it.
   */
  async close(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#options.closeTimeout ?? 5000);
    });
    await Promise.race([this.flush(), late]);
    clearTimeout(timer);
    await this.abandon();
  }

  /** @internal Ends a client that nobody was given. */
  async abandon(): Promise<void> {
    this.#end({ kind: "closed" });
    await this.#store?.close();
  }

  #end(why: Ended): void {
    this.#driver.run(close, why);
  }

  /** Calls back for all that happens to the client. Gives a function that ends this. */
  onEvent(listener: (event: ClientEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Where the client stands. */
  get state(): ClientState {
    if (this.#state.ended) return "ended";
    return this.#state.isConnected ? "connected" : "connecting";
  }

  /** Why the client has ended for good, if it has. */
  get ended(): Ended | null {
    return this.#state.ended;
  }

  /** What carries the messages now. */
  get transport(): ClientTransport {
    return this.#transport();
  }

  /** Round trip of the last heartbeat, ms, if there was one. */
  get latency(): number | null {
    return this.#state.latency;
  }

  /** Counters since the client was made. */
  get stats(): Stats {
    return { ...this.#state.stats };
  }

  /** How full the outbox is. */
  get outbox(): Usage {
    return { ...this.#state.usage };
  }

  #newKey(): number {
    this.#lastKey += 1;
    return this.#lastKey;
  }

  /** Asks for something that will be answered, and waits for that. `atOnce` sees the reply before anything that follows it. */
  #expect<T extends unknown[]>(
    atOnce: ((reply: SystemMessage) => void) | null, what: (state: State, now: Now, key: number, ...more: T) => void, ...more: T
  ): Promise<SystemMessage> {
    return new Promise((resolve, reject) => {
      const key = this.#newKey();
      this.#driver.run(what, key, ...more);
      this.#replies.set(key, {
        resolve: (reply) => {
          atOnce?.(reply);
          resolve(reply);
        },
        reject,
      });
    });
  }

  #hear(told: Told): void {
    switch (told.type) {
      case "published":
        return this.#published(told.ticket, told.outcome);
      case "reply":
      case "failed": {
        const waiting = this.#replies.get(told.key);
        this.#replies.delete(told.key);
        if (told.type === "reply") waiting?.resolve(told.reply);
        else waiting?.reject(told.error);
        return;
      }
      case "item":
        return this.#follows.get(told.follow)?.push(told.item);
      case "followEnded":
        return this.#endFollow(told.follow, told.error);
      case "replayFinished":
        return this.#endFollow(told.replay, null);
      case "connection":
        return this.#emit(told.event);
    }
  }

  #endFollow(key: number, error: ClientError | null): void {
    this.#follows.get(key)?.end(error?.ended?.kind === "closed" ? null : error);
    this.#follows.delete(key);
  }

  #published(ticket: number, outcome: Outcome): void {
    const found = this.#tickets.get(ticket);
    this.#tickets.delete(ticket);
    const isKept = outcome.status === "unknown" && outcome.why.kind === "ended";
    if (found && !isKept) this.#store?.remove(found.id);
    found?.told(outcome);
  }

  #emit(event: ClientEvent): void {
    // Fails only if it is broken already, which `append` has told.
    if (event.type === "ended") void this.#store?.close().catch(() => undefined);
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        // A listener's mistake is its page's to hear of, and not the client's to stumble over.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
