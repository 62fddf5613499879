/** Evidence as the page shows it: fetched once with the token, held as `blob:` addresses, let go with the session. */
import { type Evidence, IMAGE_TYPES } from "../timeline/derive.js";

/** Where the bytes of evidence come from. */
export type FetchBytes = (hash: string) => Promise<Blob>;
/** Asks whether evidence is there; rejects if it is not. */
export type Look = (hash: string) => Promise<void>;

/** Most pieces held at a time, and most bytes of them. */
const HELD = 200;
const HELD_BYTES = 200_000_000;
/** Types that an address is made for. All else would be opened by the browser in a way that we do not choose. */
const SAFE_TYPES: readonly string[] = [...IMAGE_TYPES, "video/webm", "video/mp4"];

/** A piece that was fetched. */
export interface Piece {
  /** A `blob:` address of an image or a video; of anything else, as a file to be saved. */
  url: string;
  blob: Blob;
}

export class EvidenceShelf {
  readonly #fetch: FetchBytes;
  readonly #look: Look;
  readonly #looked = new Map<string, Promise<void>>();
  readonly #pieces = new Map<string, Promise<Piece>>();
  /** Bytes of the pieces that are here, the oldest first. */
  readonly #sizes = new Map<string, number>();

  constructor(fetch: FetchBytes, look: Look) {
    [this.#fetch, this.#look] = [fetch, look];
  }

  /** Rejects if a piece is not there. Asked once of each: what is missing may come later, so failures are forgotten. */
  look(hash: string): Promise<void> {
    const found = this.#looked.get(hash);
    if (found) return found;
    const looked = this.#look(hash);
    looked.catch(() => this.#looked.delete(hash));
    this.#looked.set(hash, looked);
    return looked;
  }

  /** The bytes of a piece in the store. */
  get(evidence: Evidence): Promise<Piece> {
    const { place, contentType } = evidence;
    if (place?.in !== "store") return Promise.reject(new Error("not in the store"));
    const found = this.#pieces.get(place.hash);
    if (found) return found;
    const piece = this.#fetch(place.hash).then((bytes) => {
      // The event's own word of the type is used only if it is a harmless one.
      const type = SAFE_TYPES.includes(contentType) ? contentType : "application/octet-stream";
      const blob = bytes.slice(0, bytes.size, type);
      this.#weigh(place.hash, blob.size);
      return { url: URL.createObjectURL(blob), blob };
    });
    // A failure may be over the next time.
    piece.catch(() => this.#pieces.delete(place.hash));
    this.#pieces.set(place.hash, piece);
    const oldest = this.#pieces.keys().next().value;
    if (this.#pieces.size > HELD && oldest !== undefined) this.#drop(oldest);
    return piece;
  }

  /** Lets everything go. */
  close(): void {
    for (const hash of [...this.#pieces.keys()]) this.#drop(hash);
  }

  /** Notes what a piece takes, and lets go of the oldest others if all take too much. */
  #weigh(hash: string, size: number): void {
    if (!this.#pieces.has(hash)) return;
    this.#sizes.set(hash, size);
    let sum = [...this.#sizes.values()].reduce((before, one) => before + one, 0);
    for (const [oldest, its] of [...this.#sizes]) {
      if (sum <= HELD_BYTES || oldest === hash) return;
      sum -= its;
      this.#drop(oldest);
    }
  }

  #drop(hash: string): void {
    const piece = this.#pieces.get(hash);
    this.#pieces.delete(hash);
    this.#sizes.delete(hash);
    void piece?.then(({ url }) => URL.revokeObjectURL(url), () => undefined);
  }
}
