/**
 * A WebSocket by hand (RFC 6455), for what a well-behaved client does not do: a reader that does not read, thousands of commands
 * without waiting, ids of one's own choice. No compression, no fragments.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import type { RealServer } from "./server.js";

/** How long an answer may take, ms: a guard against hangs. */
const PATIENCE = 60_000;
const [TEXT, PONG, PING] = [0x1, 0xa, 0x9];

interface Message {
  type: string;
  data: Record<string, unknown> & { originalMessageId?: string };
}

/** A whole frame that a client sends: masked, of less than 64 KiB. */
function frame(opcode: number, body: Buffer): Buffer {
  const mask = randomBytes(4);
  const length = body.length < 126 ? Buffer.from([0x80 | body.length]) : Buffer.from([0x80 | 126, body.length >> 8, body.length & 255]);
  return Buffer.concat([Buffer.from([0x80 | opcode]), length, mask, body.map((byte, index) => byte ^ (mask[index % 4] ?? 0))]);
}

export class RawSocket {
  readonly #socket: Socket;
  readonly #waiting = new Map<string, (message: Message) => void>();
  #left: Buffer = Buffer.alloc(0);
  #isOpen = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (bytes) => this.#take(bytes));
    socket.on("error", () => undefined);
  }

  static async open(server: RealServer, token: string): Promise<RawSocket> {
    const socket = connect(server.port, "127.0.0.1");
    await once(socket, "connect", { signal: AbortSignal.timeout(PATIENCE) });
    const raw = new RawSocket(socket);
    socket.write([
      "GET /ws HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
      `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`, `Authorization: Bearer ${token}`, "", "",
    ].join("\r\n"));
    return raw;
  }

  /** Sends a command, and waits for its answer. */
  command(id: string, data: Record<string, unknown>): Promise<Message> {
    const answer = new Promise<Message>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer to ${id}`)), PATIENCE);
      this.#waiting.set(id, (message) => {
        clearTimeout(timer);
        if (message.type === "error") reject(new Error(JSON.stringify(message.data)));
        else resolve(message);
      });
    });
    this.#socket.write(frame(TEXT, Buffer.from(JSON.stringify({ id, type: "control_command", timestamp: Date.now(), data }))));
    return answer;
  }

  /** Reads nothing any more. */
  stopReading(): void {
    this.#socket.pause();
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(bytes: Buffer): void {
    this.#left = Buffer.concat([this.#left, bytes]);
    if (!this.#isOpen) {
      const end = this.#left.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.#isOpen = true;
      this.#left = this.#left.subarray(end + 4);
    }
    while (this.#takeFrame());
  }

  #takeFrame(): boolean {
    const whole = this.#left;
    if (whole.length < 2) return false;
    const short = (whole[1] ?? 0) & 0x7f;
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (whole.length < head) return false;
    const length = short < 126 ? short : short === 126 ? whole.readUInt16BE(2) : Number(whole.readBigUInt64BE(2));
    if (whole.length < head + length) return false;
    const body = whole.subarray(head, head + length);
    this.#left = whole.subarray(head + length);
    const opcode = (whole[0] ?? 0) & 0xf;
    if (opcode === PING) this.#socket.write(frame(PONG, body));
    if (opcode !== TEXT) return true;
    const said = JSON.parse(body.toString()) as Message | Message[];
    for (const message of Array.isArray(said) ? said : [said]) this.#answered(message);
    return true;
  }

  #answered(message: Message): void {
    const id = message.data.originalMessageId ?? "";
    this.#waiting.get(id)?.(message);
    this.#waiting.delete(id);
  }
}

/** Creates a session under an id of one's own: the same user and id make the same session again. */
export async function createAs(socket: RawSocket, id: string, content: { projectId: string; testId: string; agentName: string }): Promise<string> {
  const { data } = await socket.command(id, { command: "create_session", ...content });
  return String(data.sessionId);
}
