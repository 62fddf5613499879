/**
 * How messages are written into frames and read from them. The machine speaks JSON text; a codec turns it into what
 * goes over the wire.
 */

/** What one WebSocket message holds. */
export type Frame = string | Uint8Array<ArrayBuffer>;

/** One encoded envelope and its size on the wire, in bytes. */
export interface Piece {
  /** The envelope, as a codec's `join` wants it. */
  readonly content: Frame;
  /** Its size in bytes. */
  readonly bytes: number;
}

/** A form of the protocol on the wire. */
export interface Codec {
  /** The subprotocol that stands for it. */
  readonly subprotocol: string;
  /** Encodes one envelope, given as JSON text. */
  encode(json: string): Piece;
  /** Makes one frame of one or more envelopes. */
  join(pieces: readonly Piece[]): Frame;
  /** Reads a frame. Throws if it is not in this form. */
  decode(frame: unknown): unknown;
}

/** Length of a text in UTF-8, in bytes. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    // Each half of a surrogate pair counts two of its four bytes.
    bytes += unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 1 : 2;
  }
  return bytes;
}

/** Text frames: an event's content reaches readers as it was written. */
export const jsonCodec: Codec = {
  subprotocol: "agentbench.v1.json",
  encode: (json) => ({ content: json, bytes: utf8Length(json) }),
  join: ([first, ...rest]) => {
    if (first === undefined) throw new Error("a frame holds at least one envelope");
    return rest.length === 0 ? first.content : `[${[first, ...rest].map((piece) => piece.content as string).join(",")}]`;
  },
  decode: (frame) => {
    if (typeof frame !== "string") throw new Error("a binary message where text was agreed");
    return JSON.parse(frame) as unknown;
  },
};
