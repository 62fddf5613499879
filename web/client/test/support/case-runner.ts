/** Runs a conformance case (format: conformance/README.md) on the machine. */
import { expect } from "vitest";
import { jsonCodec } from "../../src/codec.js";
import { makeEvent } from "../../src/event.js";
import type { StartAt } from "../../src/machine/follow.js";
import { Machine, type Told } from "../../src/machine/machine.js";
import type { Settings } from "../../src/machine/settings.js";
import { settings } from "./pair.js";

type Fields = Record<string, unknown>;

export interface Case {
  title: string;
  settings?: Fields;
  begin: "new" | "connected" | "publisher";
  /** What a machine must have beyond what every client has. */
  needs?: ("durableOutbox" | "followPause" | "stopReplay")[];
  steps: Fields[];
}

/** The words of a step that say what must come out; all others are inputs. */
const OUTPUTS = ["actions", "sent", "told"] as const;

const GREETING = {
  type: "connection_established", clientId: "c1", server: "case", node: "n1", protocolVersion: 1, heartbeatInterval: 30_000,
  maxPayload: 100_000, ackLevel: "logged",
};

export function runCase(example: Case): void {
  const runner = new Runner(example.settings ?? {});
  for (const step of prelude(example.begin)) runner.take(step, "before the first step");
  for (const [index, step] of example.steps.entries()) runner.take(step, `step ${index + 1} ${JSON.stringify(step)}`);
}

function prelude(begin: Case["begin"]): Fields[] {
  if (begin === "new") return [];
  const connected = [{ start: true, actions: ["connect"] }, { greet: {}, told: [{ connection: "connected" }] }];
  if (begin === "connected") return connected;
  return [
    ...connected,
    { join: { key: 0, session: "S" }, sent: [{ id: "$begin", data: { command: "join_session", sessionId: "S", follow: false } }] },
    { joined: { originalMessageId: "$begin" }, told: [{ reply: 0, data: { type: "session_joined" } }] },
  ];
}

class Runner {
  private readonly machine: Machine;
  private readonly names = new Map<string, unknown>();
  private at = 0;
  private messages = 0;
  /** How much the user's clock is ahead of the server's, ms. */
  private readonly clockAhead: number;

  constructor(change: Fields) {
    const { token, tokenProvider, backoff, clockAhead = 0, ...rest } = change as Fields & { backoff?: Partial<Settings["backoff"]>; clockAhead?: number };
    this.clockAhead = clockAhead;
    const base = settings({ heartbeatInterval: null });
    this.machine = new Machine({
      ...base, ...(rest as Partial<Settings>), backoff: { ...base.backoff, ...backoff },
      token: token === undefined ? "t0" : (token as string | null), hasTokenProvider: tokenProvider === true,
    });
  }

  private now() {
    return { at: this.at, unix: this.at + this.clockAhead };
  }

  take(step: Fields, where: string): void {
    for (const [word, content] of Object.entries(step)) {
      if (!(OUTPUTS as readonly string[]).includes(word)) this.put(word, this.fill(content) as Fields);
    }
    const outputs = this.outputs();
    for (const kind of OUTPUTS) this.match((step[kind] ?? []), outputs[kind], `${where}: ${kind}`);
  }

  private put(word: string, content: Fields): void {
    const { machine } = this;
    const now = this.now();
    switch (word) {
      case "start": return machine.start(now);
      case "greet":
        machine.opened(now, jsonCodec.subprotocol);
        return this.say("system_message", { ...GREETING, ...content });
      case "opened": return machine.opened(now, (content.protocol as string | undefined) ?? jsonCodec.subprotocol);
      case "receive": return machine.received(now, typeof content === "string" ? content : JSON.stringify(content));
      case "entries":
        return machine.received(now, JSON.stringify((content as unknown as Fields[]).map((entry) => ({ type: "test_event", timestamp: 1, sessionId: "S", data: {}, id: `p${entry.seq as number}`, ...entry }))));
      case "closed": return machine.closed(now, content.code as number | null, content.reason as string);
      case "unreachable": return machine.unreachable(now, content as unknown as string);
      case "http": return machine.refused(now, content.status as number, content.retryAfter as number | null, "");
      case "token": return machine.token(now, content as unknown as { token: string });
      case "elapse":
        this.at += content as unknown as number;
        return machine.timeout(this.now());
      default:
        if (!this.heard(word, content)) this.ask(word, content);
    }
  }

  /** What the server says. Tells whether it is that. */
  private heard(word: string, content: Fields): boolean {
    if (word === "say") this.say("system_message", content);
    else if (word === "refuse") this.say("error", { error: "no", retryable: true, ...content });
    else if (word === "heartbeat") this.say("heartbeat", content);
    else if (word === "joined") this.joined(content);
    else return false;
    return true;
  }

  /** What the user asks for. */
  private ask(word: string, content: Fields): void {
    const { machine } = this;
    const now = this.now();
    const [key, session] = [content.key as number, content.session as string];
    switch (word) {
      case "publish": {
        const event = makeEvent((content.data as Fields | undefined) ?? {}, {});
        expect(machine.makeRoom(session, event.bytes)).toBe(true);
        machine.publish(now, { session, id: content.id as string, event, ticket: (content.ticket as number | undefined) ?? null });
        return;
      }
      case "noRoom": return expect(machine.makeRoom(session, content.bytes as number)).toBe(false);
      case "command": {
        return machine.command(now, key, Object.fromEntries(Object.entries(content).filter(([name]) => name !== "key")) as { command: string });
      }
      case "join": return machine.join(now, key, session);
      case "leave": return machine.leave(now, key, session);
      case "follow": return machine.follow(now, key, content.follow as number, session, content.from as StartAt);
      case "unfollow": return machine.unfollow(now, session, content.follow as number);
      case "replay": return machine.replay(now, key, content.replay as number, session, content.speed as number, content.fromSeq as number);
      case "stopReplay": return machine.stopReplay(now, session, content.replay as number);
      case "pause": return machine.setPaused(session, content.follow as number, content.paused as boolean);
      case "close": return machine.close();
      default: throw new Error(`no such input: ${word}`);
    }
  }

  private say(type: string, data: Fields): void {
    this.messages += 1;
    this.machine.received(this.now(), JSON.stringify({ id: `m${this.messages}`, type, timestamp: this.at, data }));
  }

  private joined(content: Fields): void {
    const session = (content.sessionId as string | undefined) ?? "S";
    this.say("system_message", {
      type: "session_joined", sessionId: session, epoch: "E", headSeq: 0, from: { epoch: "E", seq: 0 }, recovered: true,
      session: { sessionId: session }, ...content,
    });
  }

  /** All outputs, as the cases write them. */
  private outputs(): Record<(typeof OUTPUTS)[number], unknown[]> {
    const actions: unknown[] = [];
    const sent: unknown[] = [];
    const told: unknown[] = [];
    for (let isBusy = true; isBusy; ) {
      isBusy = false;
      for (let frame = this.machine.transmit(this.now()); frame !== null; frame = this.machine.transmit(this.now())) {
        isBusy = true;
        sent.push(...[JSON.parse(frame as string) as unknown].flat());
      }
      for (let action = this.machine.pollAction(); action; action = this.machine.pollAction()) actions.push(action.type);
      for (let one = this.machine.pollTold(); one; one = this.machine.pollTold()) told.push(written(one));
    }
    return { actions, sent, told };
  }

  private fill(value: unknown): unknown {
    if (typeof value === "string" && value.startsWith("$")) {
      expect(this.names.has(value), `${value} is known`).toBe(true);
      return this.names.get(value);
    }
    if (Array.isArray(value)) return value.map((one) => this.fill(one));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, this.fill(one)]));
  }

  private match(wanted: unknown, found: unknown, where: string): void {
    if (typeof wanted === "string" && wanted.startsWith("$")) {
      if (!this.names.has(wanted)) this.names.set(wanted, found);
      expect(found, where).toEqual(this.names.get(wanted));
    } else if (Array.isArray(wanted)) {
      expect(found, where).toHaveLength(wanted.length);
      for (const [index, one] of wanted.entries()) this.match(one, (found as unknown[])[index], `${where}[${index}]`);
    } else if (typeof wanted === "object" && wanted !== null) {
      const { atMost, ...fields } = wanted as Fields;
      if (typeof atMost === "number") {
        expect(found, where).toBeTypeOf("number");
        expect(found, where).toBeLessThanOrEqual(atMost);
      }
      if (Object.keys(fields).length > 0) expect(found, where).toBeTypeOf("object");
      for (const [name, one] of Object.entries(fields)) this.match(one, (found as Fields)[name], `${where}.${name}`);
    } else {
      expect(found ?? null, where).toEqual(wanted);
    }
  }
}

function written(told: Told): unknown {
  switch (told.type) {
    case "published": return { published: told.ticket, ...told.outcome };
    case "reply": return { reply: told.key, data: told.reply };
    case "failed": return { failed: told.key, kind: told.error.kind, refusal: told.error.refusal };
    case "item": {
      const { type, ...item } = told.item;
      return { follow: told.follow, item: type, ...item };
    }
    case "followEnded": return { followEnded: told.follow, kind: told.error.kind };
    case "replayFinished": return { replayFinished: told.replay };
    case "connection": {
      const { type, ...event } = told.event;
      return { connection: type, ...event };
    }
  }
}
