/** Moves frames between a transport and the machine, keeps its clock, and decides nothing. */
import { close, closed, opened, token, turnedAway } from "./machine/connect.js";
import type { ConnectionEvent, Host } from "./machine/outputs.js";
import { received } from "./machine/receive.js";
import { heard } from "./machine/requests.js";
import { LONGEST_TIMER, type Now, type Settings } from "./machine/settings.js";
import { State } from "./machine/state.js";
import { timeout } from "./machine/timeouts.js";
import { transmit } from "./machine/transmit.js";
import { ClientError, reasonOf } from "./outcome.js";
import type { Transport, TransportLink, TransportRequest } from "./transport.js";

/** Bytes that may wait in the socket before no more are written. */
const HIGH_WATER = 1024 * 1024;
/** How often a full socket is looked at again, ms: there is no event for it. */
const LOOK_AGAIN = 20;

/** What a driver needs beside the machine. */
export interface DriverParts {
  transport: Transport;
  request: Omit<TransportRequest, "token">;
  /** Takes what the machine tells. */
  tell: (event: ConnectionEvent) => void;
  /** Asked for a token when the machine wants one. */
  provideToken: () => Promise<string>;
  /** Asked before each attempt to connect; rejects with `fenced` if this client may not any more. */
  mayConnect: () => Promise<void>;
  /** All that follows from the last input is done: there may be room in the outbox. */
  rest: () => void;
}

/** What the machine can be asked for. */
export type Request<T extends unknown[]> = (state: State, now: Now, ...more: T) => void;

/** The present moment. */
function present(): Now {
  return { at: performance.now(), unix: Date.now() };
}

/** Runs one machine. */
export class Driver implements Host {
  /** The machine's. */
  readonly state: State;
  readonly tell: (event: ConnectionEvent) => void;
  readonly #parts: DriverParts;
  #link: TransportLink | null = null;
  /** Counts the attempts: what belongs to an earlier one is ignored. */
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #armedFor = Infinity;
  #isScheduled = false;

  constructor(settings: Settings, parts: DriverParts) {
    this.state = new State(settings, this);
    this.#parts = parts;
    this.tell = parts.tell;
  }

  /** Asks something of the machine, and does soon what follows from it: what is asked for in one go is sent in one go. */
  run<T extends unknown[]>(what: Request<T>, ...more: T): void {
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      queueMicrotask(() => {
        this.#isScheduled = false;
        this.#pump();
      });
    }
    what(this.state, present(), ...more);
  }

  /** Does all that the machine wants done. */
  #pump(): void {
    const { outputs } = this.state;
    for (let isBusy = true; isBusy; ) {
      isBusy = this.#write();
      for (let output = outputs.shift(); output; output = outputs.shift()) output();
    }
    this.#parts.rest();
    this.#arm();
  }

  /** @internal */
  disconnect(code: number): void {
    this.#attempt += 1;
    this.#link?.close(code);
    this.#link = null;
  }

  /** @internal */
  async connect(token: string | null): Promise<void> {
    const attempt = (this.#attempt += 1);
    /** Passes on what is told of this attempt, as long as it is the current one. */
    const pass = <T extends unknown[]>(what: Request<T>, isEnd = false) => (...told: T): void => {
      if (attempt !== this.#attempt) return;
      if (isEnd) this.#link = null;
      this.run(what, ...told);
    };
    const { mayConnect, transport, request } = this.#parts;
    try {
      await mayConnect();
      if (attempt !== this.#attempt) return;
      this.#link = transport({ ...request, token }, {
        opened: pass(opened), received: pass(received), heard: pass(heard), refused: pass(turnedAway, true), closed: pass(closed, true),
      });
    } catch (error) {
      const detail = reasonOf(error);
      if (error instanceof ClientError && error.kind === "fenced") pass(close)({ kind: "fenced", detail });
      else pass(closed)(null, detail);
    }
  }

  /** @internal */
  async fetchToken(): Promise<void> {
    let answer: { token: string } | { error: string };
    try {
      answer = { token: checkToken(await this.#parts.provideToken()) };
    } catch (error) {
      answer = { error: reasonOf(error) };
    }
    this.run(token, answer);
  }

  get #isFull(): boolean {
    return (this.#link?.buffered ?? 0) > HIGH_WATER;
  }

  /** Hands one frame over, if the socket takes it. */
  #write(): boolean {
    const frame = this.#link && !this.#isFull ? transmit(this.state, present()) : null;
    if (frame) this.#link?.send(frame);
    return Boolean(frame);
  }

  /** Sets the timer to what is due next. */
  #arm(): void {
    const { at } = present();
    const next = Math.min(this.state.wakeAt, this.#isFull ? at + LOOK_AGAIN : Infinity);
    if (next === this.#armedFor) return;
    clearTimeout(this.#timer);
    this.#armedFor = next;
    if (next === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#armedFor = Infinity;
      this.run(timeout);
    }, Math.min(Math.max(Math.ceil(next - at), 0), LONGEST_TIMER));
  }
}

/** Gives a token back if a WebSocket can carry it (RFC 6455 §4.1: the value of a header's token). */
export function checkToken(token: string): string {
  if (/^[\w!#$%&'*+.^`|~-]+$/.test(token)) return token;
  throw new ClientError("invalid", "the token has characters that no token has: give the bare JWT");
}
