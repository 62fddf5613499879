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
  return new TextEncoder().encode(text).length;
}

/** Text frames: an event's content reaches readers as it was written. */
export const jsonCodec: Codec = {
  subprotocol: "agentbench.v1.json",
  encode: (json) => ({ content: json, bytes: utf8Length(json) }),
  join: (pieces) => {
    const text = pieces.map(({ content }) => content as string).join(",");
    return pieces.length === 1 ? text : `[${text}]`;
  },
  decode: (frame) => JSON.parse(frame as string) as unknown,
};
