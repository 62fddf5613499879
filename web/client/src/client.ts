/** The API: a client, what it publishes and follows. */
import { utf8Length } from "./codec.js";
import { type ClientEvent, type ConnectOptions, checkOptions, settingsOf } from "./config.js";
import { transportOf } from "./auto.js";
import { Commands, normal } from "./commands.js";
import { Driver, type Request } from "./driver.js";
import { type PublishOptions, makeEvent } from "./event.js";
import { Follow, type FollowOptions } from "./follow.js";
import { Intake } from "./intake.js";
import type { Item, Metadata } from "./item.js";
import type { StartAt } from "./machine/follow.js";
import { begin as beginConnecting, close } from "./machine/connect.js";
import type { Answered, Reader, Settled, Stats, Usage } from "./machine/outputs.js";
import { type Publish, command, follow as begin, join, leave, publish, setPaused, unfollow } from "./machine/requests.js";
import type { Settings } from "./machine/settings.js";
import { ClientError, type Ended, type Outcome } from "./outcome.js";
import type { CreateSession, SystemMessage } from "./protocol.js";
import type { Replay, ReplayOptions } from "./replay.js";
import { type Reply, expectReply } from "./replies.js";
import { randomName } from "./random.js";
import { Session } from "./session.js";
import type { OpenedStore, StoredEvent } from "./store/store.js";
import type { ClientState, ClientTransport, Ticket } from "./ticket.js";
import type { Transport } from "./transport.js";

/**
 * A client of one server, over one connection at a time that it makes again whenever it is lost. Made by `connect` or
 * `open`; lives until `close`, or until it ends for good.
 */
export class Client extends Commands {
  /** Name of this producer. */
  readonly producerId: string;
  readonly #driver: Driver;
  readonly #store: OpenedStore | null;
  readonly #intake: Intake;
  readonly #options: ConnectOptions;
  readonly #listeners = new Set<(event: ClientEvent) => void>();
  #emptied: (() => void)[] = [];
  #transport: ClientTransport;

  private constructor(options: ConnectOptions, settings: Settings, transport: Transport, store: OpenedStore | null) {
    super();
    this.#options = options;
    this.producerId = store?.producerId ?? options.producerId ?? randomName();
    this.#store = store;
    this.#transport = options.transport === "sse" ? "sse" : "websocket";
    this.#driver = new Driver(settings, {
      transport,
      request: { url: options.url, subprotocol: settings.codec.subprotocol, producerId: this.producerId, strict: options.strict },
      provideToken: async () => (await options.tokenProvider?.()) ?? "",
      mayConnect: async () => store?.check(),
      tell: (event) => this.#emit(event),
      rest: () => {
        this.#intake.move();
        if (this.#isEmpty()) for (const resolve of this.#emptied.splice(0)) resolve();
      },
    });
    this.#intake = new Intake(this.#driver, store, settings.outboxPolicy === "wait");
    if (options.onEvent) this.#listeners.add(options.onEvent);
    store?.onFenced(({ kind, message }) => this.#end({ kind: kind === "store" ? kind : "fenced", detail: message }));
  }

  /** @internal */
  static async open(options: ConnectOptions): Promise<Client> {
    checkOptions(options);
    const settings = await settingsOf(options);
    const carrier = transportOf(options, settings.codec, (transport, detail) => {
      client.#transport = transport;
      client.#emit({ type: "transport", transport, detail });
    });
    // Last, since it fences the owner before.
    const store = (await options.outbox?.open(options.producerId ?? null)) ?? null;
    const client = new Client(options, settings, carrier, store);
    for (const event of store?.events ?? []) client.#resend(event);
    client.#driver.run(beginConnecting, false);
    return client;
  }

  /** Creates a session. The client takes part in it as a publisher. */
  async create(session: Omit<CreateSession, "follow">): Promise<Session> {
    const reply = expectReply(await this.command({ ...session, command: "create_session" }), "session_created");
    return new Session(this, reply.session);
  }

  /** Joins a session to publish in it, for as long as the client lives. */
  async join(sessionId: string): Promise<Session> {
    const reply = await this.#ask(join, normal(sessionId));
    return new Session(this, expectReply(reply, "session_joined").session);
  }

  /**
   * Follows a session from a place in its log, `"live"`, `"start"` or a position, to its end. At most one follow of a session at a time on
   * one client. With a listener, it is called for each item; what it throws ends the follow, and is reported as an unhandled
   * rejection.
   */
  async follow(sessionId: string, from: StartAt, how: FollowOptions | ((item: Item) => unknown) = {}): Promise<Follow> {
    const { stay, listener } = typeof how === "function" ? { listener: how } : how;
    const [follow, joined] = await this.#read(stay, "session_joined", sessionId, setPaused, unfollow, begin, from);
    follow.setJoined(joined);
    if (listener) {
      void follow.forEach(listener).catch((error: unknown) => {
        follow.close();
        // A follow that the client's end has ended has been told through the client's events.
        if (!(error instanceof ClientError)) throw error;
      });
    }
    return follow;
  }

  /**
   * Replays a session, from `fromSeq` to the end that its log has now, at `speed` times its own pace. At most one replay of a
   * session at a time on one client.
   */
  async replaySession(sessionId: string, options: ReplayOptions = {}): Promise<Replay> {
    const { beginReplay, pauseReplay, replayOf, stopReplay } = await import("./replay.js");
    return replayOf(...(await this.#read(true, "replay_started", sessionId, pauseReplay, stopReplay, beginReplay, options)));
  }

  /** Begins to read a session's log, and waits for the answer. */
  async #read<T extends SystemMessage["type"], M extends unknown[]>(
    stay: boolean | undefined, type: T, sessionId: string, pause: Request<[string, Reader, boolean]>, leave: Request<[string, Reader]>,
    begin: Request<[Answered, Reader, string, ...M]>, ...more: M
  ): Promise<[Follow, Reply<T>]> {
    const session = normal(sessionId);
    const follow = new Follow(session, this.#options.followBuffer, {
      pause: (isPaused) => this.#driver.run(pause, session, follow, isPaused),
      leave: () => this.#driver.run(leave, session, follow),
    }, stay);
    try {
      return [follow, expectReply(await this.#ask(begin, follow, session, ...more), type)];
    } catch (error) {
      follow.close();
      throw error;
    }
  }

  /** Leaves a session: what waits to be published there is given up, its follow ends. */
  async leave(sessionId: string): Promise<void> {
    expectReply(await this.#ask(leave, normal(sessionId)), "session_left");
  }

  /** Sends any command and gives its reply. It is sent again after a reconnect, under the same id. */
  override command(data: { command: string } & Record<string, unknown>): Promise<SystemMessage> {
    return this.#ask(command, data);
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

  async #put(sessionId: string, data: Record<string, unknown>, options: PublishOptions, wantsAck: boolean): Promise<Ticket> {
    const event = makeEvent(data, options);
    const id = options.id ?? this.#driver.state.newId("-");
    let told!: Settled;
    const outcome = new Promise<Outcome>((resolve) => {
      told = resolve;
    });
    await new Promise<void>((accepted, rejected) =>
      this.#intake.add({ session: normal(sessionId), id, event, ticket: wantsAck ? this.#ticket(id, told) : null, timestamp: Date.now(), accepted, rejected }),
    );
    return { id, outcome };
  }

  /** Hears what becomes of an event: what is settled need not be kept. */
  #ticket(id: string, told: Settled): Settled {
    return (outcome) => {
      const isKept = outcome.status === "unknown" && outcome.why.kind === "ended";
      if (!isKept) this.#store?.remove(id);
      told(outcome);
    };
  }

  /** Takes an event that an earlier client has left. */
  #resend({ sessionId, id, timestamp, data, metadata }: StoredEvent): void {
    const ticket = this.#ticket(id, (outcome) => this.#emit({ type: "recovered", sessionId, id, outcome }));
    const event = { data, bytes: utf8Length(data), metadata: JSON.parse(metadata) as Metadata };
    const left: Publish = { session: sessionId, id, event, ticket, recoveredFrom: timestamp };
    this.#driver.run(publish, left);
  }

  /** Waits until the outbox is empty: every publish has its outcome. */
  flush(): Promise<void> {
    if (this.#isEmpty()) return Promise.resolve();
    return new Promise((resolve) => this.#emptied.push(resolve));
  }

  #isEmpty(): boolean {
    const { ended, usage } = this.#driver.state;
    return ended !== null || (usage.messages === 0 && this.#intake.isEmpty);
  }

  /**
   * Closes the client: waits for what is in the outbox, for `closeTimeout` at most, then says goodbye. What has no outcome by
   * then is `unknown`; a durable outbox keeps it.
   */
  async close(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, this.#options.closeTimeout ?? 5000));
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
    const { ended, isConnected } = this.#driver.state;
    if (ended) return "ended";
    return isConnected ? "connected" : "connecting";
  }

  /** Why the client has ended for good, if it has. */
  get ended(): Ended | null {
    return this.#driver.state.ended;
  }

  /** What carries the messages now. */
  get transport(): ClientTransport {
    return this.#transport;
  }

  /** Round trip of the last heartbeat, ms, if there was one. */
  get latency(): number | null {
    return this.#driver.state.latency;
  }

  /** Counters since the client was made. */
  get stats(): Stats {
    return { ...this.#driver.state.stats };
  }

  /** How full the outbox is. */
  get outbox(): Usage {
    return { ...this.#driver.state.usage };
  }

  /** Asks for something that will be answered, and waits for that. */
  #ask<T extends unknown[]>(what: Request<[Answered, ...T]>, ...more: T): Promise<SystemMessage> {
    return new Promise((resolve, reject) => {
      this.#driver.run(what, (answer) => {
        if (answer instanceof ClientError) reject(answer);
        else resolve(answer);
      }, ...more);
    });
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
