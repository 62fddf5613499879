/**
 * Binary frames, on the optional peer dependency `@msgpack/msgpack`. Loaded only when a client asks for
 * `format: "msgpack"`.
 */
import type { Codec, Piece } from "./codec.js";

/** Levels of a message: what may be sent has fewer, and an error here would come too late. */
const MAX_DEPTH = 256;

/** Head of a MessagePack array of `length` elements. */
function arrayHead(length: number): number[] {
  return length < 16 ? [0x90 | length] : [0xdc, length >> 8, length & 0xff];
}

function joined(pieces: readonly Piece[]): Uint8Array<ArrayBuffer> {
  const head = arrayHead(pieces.length);
  const frame = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.bytes, head.length));
  frame.set(head);
  let at = head.length;
  for (const piece of pieces) {
    frame.set(piece.content as Uint8Array, at);
    at += piece.bytes;
  }
  return frame;
}

/** Stands for the key `__proto__`, which the package refuses; no key that was sent can be it, since half of a surrogate pair has no UTF-8. */
const STAND_IN = "\ud800__proto__";

/** Reads keys as the package does, but for that one. */
const keyDecoder = {
  canBeCached: () => true,
  decode: (bytes: Uint8Array, from: number, length: number) => {
    const key = new TextDecoder().decode(bytes.subarray(from, from + length));
    return key === "__proto__" ? STAND_IN : key;
  },
};

/** Puts the real key in the place of the one that stands for it, as `JSON.parse` would have it. */
function restore(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  for (const inner of Object.values(value)) restore(inner);
  const found = Object.getOwnPropertyDescriptor(value, STAND_IN);
  if (found) {
    Reflect.deleteProperty(value, STAND_IN);
    Object.defineProperty(value, "__proto__", found);
  }
  return value;
}

/** MessagePack with the same fields as JSON: smaller for data with many numbers, translated at both ends. */
export async function loadMsgpack(): Promise<Codec> {
  const { decode, encode } = await import("@msgpack/msgpack");
  return {
    subprotocol: "agentbench.v1.msgpack",
    encode: (json) => {
      const content = encode(JSON.parse(json), { maxDepth: MAX_DEPTH });
      return { content, bytes: content.byteLength };
    },
    join: (pieces) => {
      const [first] = pieces;
      return pieces.length === 1 && first !== undefined ? first.content : joined(pieces);
    },
    decode: (frame) => {
      if (!(frame instanceof Uint8Array)) throw new Error("a text message where MessagePack was agreed");
      try {
        return decode(frame);
      } catch (error) {
        if (!String(error).includes("__proto__")) throw error;
        // One such event would end this connection and each one after it.
        return restore(decode(frame, { keyDecoder }));
      }
    },
  };
}
