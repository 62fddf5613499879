/**
 * Clients of this SDK for a program in another language: one command a line on standard input, and what came of it on
 * standard output, JSON both ways. docs/testing.md has the lines. Ends when its input does.
 *
 * ```text
 *   {"do":"publish","id":7,"client":1,"session":"…","eventId":"e1","data":{…}}  ──►
 *   ◄── {"id":7,"ok":{"status":"stored","seq":2,…}}     ◄── {"follow":3,"item":"event","seq":2,"id":"e1","digest":…}
 * ```
 */
import { createInterface } from "node:readline";
import { ClientError, type Client, type ConnectOptions, type Follow, type Item, type StartAt, connect } from "./node.js";
import { crc32c } from "./store/crc32c.js";
import type { Transport } from "./transport.js";
import { wsTransport } from "./ws-transport.js";

/** Version of the lines. */
const VERSION = 1;
/** Credit of a follow that names none. */
const CREDIT = 1024;

interface Line {
  do: string;
  id: number;
  client: number;
  follow: number;
  session: string;
  [field: string]: unknown;
}

interface Connected {
  client: Client;
  bytes: { in: number; out: number };
}

/** A follow, and how many of its items may be written before more are asked for. */
interface Followed {
  follow: Follow;
  credit: number;
  wake: () => void;
}

const clients = new Map<number, Connected>();
const follows = new Map<number, Followed>();

/** Writes a line. Gives false if the reader is behind. */
function say(line: object): boolean {
  return process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** WebSockets of `ws`, whose messages are counted. */
function counted(bytes: Connected["bytes"]): Transport {
  const size = (frame: string | Uint8Array): number => (typeof frame === "string" ? Buffer.byteLength(frame) : frame.byteLength);
  return (request, events) => {
    const link = wsTransport(request, {
      ...events,
      received: (frame) => {
        bytes.in += size(frame);
        events.received(frame);
      },
    });
    return {
      send: (frame) => {
        bytes.out += size(frame);
        link.send(frame);
      },
      close: (code) => {
        link.close(code);
      },
      get buffered() {
        return link.buffered;
      },
    };
  };
}

function clientOf(line: Line): Client {
  const found = clients.get(line.client);
  if (!found) throw new ClientError("invalid", `there is no client ${line.client}`);
  return found.client;
}

/** Carries out a command, and gives its answer. */
async function carryOut(line: Line): Promise<object> {
  switch (line.do) {
    case "connect":
      return connected(line);
    case "create": {
      const { projectId, testId, agentName } = line as unknown as Record<"projectId" | "testId" | "agentName", string>;
      return { session: (await clientOf(line).create({ projectId, testId, agentName })).id };
    }
    case "join":
      return { session: (await clientOf(line).join(line.session)).id };
    case "follow":
      return followed(line);
    case "publish":
      return clientOf(line).publish(line.session, line.data as Record<string, unknown>, typeof line.eventId === "string" ? { id: line.eventId } : {});
    case "control":
      return control(line);
    case "leave":
      await clientOf(line).leave(line.session);
      return {};
    case "stats": {
      const { bytes } = clients.get(line.client) ?? { bytes: { in: 0, out: 0 } };
      return { ...clientOf(line).stats, bytesIn: bytes.in, bytesOut: bytes.out };
    }
    case "close":
      await clientOf(line).close();
      clients.delete(line.client);
      return {};
    default:
      throw new ClientError("invalid", `there is no command ${line.do}`);
  }
}

async function connected(line: Line): Promise<object> {
  const bytes = { in: 0, out: 0 };
  const onEvent = (event: object): void => {
    say({ client: line.client, event });
  };
  const options = { ...(line.options as ConnectOptions), sockets: counted(bytes), onEvent };
  clients.set(line.client, { client: await connect(options), bytes });
  return {};
}

async function control(line: Line): Promise<object> {
  const client = clientOf(line);
  switch (line.command) {
    case "start": return client.start(line.session);
    case "pause": return client.pause(line.session);
    case "resume": return client.resume(line.session);
    case "stop": return client.stop(line.session);
    default: throw new ClientError("invalid", "a control command is start, pause, resume or stop");
  }
}

async function followed(line: Line): Promise<object> {
  const follow = await clientOf(line).follow(line.session, (line.from ?? "start") as StartAt, { stay: true });
  const entry: Followed = { follow, credit: typeof line.credit === "number" ? line.credit : CREDIT, wake: () => undefined };
  follows.set(line.follow, entry);
  const { epoch, headSeq, from, recovered } = follow.joined;
  // The answer goes first: this runs on only after it is written.
  setImmediate(() => {
    void pass(line.follow, entry);
  });
  return { epoch, headSeq, from, recovered };
}

/** Writes a follow's items, as far as there is credit and the reader is not behind. */
async function pass(number: number, entry: Followed): Promise<void> {
  try {
    for await (const item of entry.follow) {
      while (entry.credit <= 0 && follows.has(number)) await new Promise<void>((wake) => (entry.wake = wake));
      entry.credit -= 1;
      if (!say({ follow: number, ...stepOf(item) })) await new Promise((drained) => process.stdout.once("drain", drained));
    }
  } catch {
    // Why it has ended is told by the client's events and the answers to its commands.
  }
  follows.delete(number);
  say({ over: number });
}

/** An item without its content, of which the digest is enough. */
function stepOf(item: Item): object {
  switch (item.type) {
    case "event":
    case "late":
      return { item: item.type, seq: item.seq, id: item.id, digest: Number.parseInt(crc32c(JSON.stringify(item.data)), 16) };
    case "lifecycle":
      return { item: "lifecycle", seq: item.seq, id: item.id };
    case "gap":
      return { item: "gap", from: item.from, to: item.to, cause: item.cause };
    case "resumed":
    case "notRecovered":
      return { item: "read", epoch: item.from.epoch, after: item.from.seq };
    default:
      return { item: "other" };
  }
}

function take(text: string): void {
  let line: Line;
  try {
    line = JSON.parse(text) as Line;
  } catch (error) {
    console.error(`a line that is no JSON: ${String(error)}`);
    process.exit(2);
  }
  if (line.do === "more" || line.do === "unfollow") {
    const entry = follows.get(line.follow);
    if (!entry) return;
    if (line.do === "more") entry.credit += Number(line.count);
    else {
      follows.delete(line.follow);
      entry.follow.close();
    }
    entry.wake();
    return;
  }
  carryOut(line).then((ok) => say({ id: line.id, ok }), (error: unknown) => {
    const { kind = "invalid", refusal, message } = (error instanceof Error ? error : new Error(String(error))) as Partial<ClientError>;
    say({ id: line.id, error: { kind, message, ...(refusal && { refusal }) } });
  });
}

createInterface({ input: process.stdin }).on("line", take).on("close", () => {
  process.exit(0);
});
// Whoever started this is gone.
process.stdout.on("error", () => process.exit(0));
say({ ready: VERSION });
