/**
 * Evidence: files (screenshots, videos, texts) that events name by the BLAKE3 hash of their bytes. A file is uploaded once for each
 * session; an upload that breaks off goes on where it ended. Needs the package `@noble/hashes`; an entry of its own, so that who
 * publishes no files does not load it.
 *
 * @packageDocumentation
 */
import { blake3 } from "@noble/hashes/blake3.js";
import { httpBase } from "./fallback/api.js";
import { ClientError, refused } from "./outcome.js";
import type { ErrorData } from "./protocol.js";

/** Bytes of one request: what a connection that is cut costs at most. */
const PART = 1 << 20;
/** Requests for one part before the upload is given up. */
const ATTEMPTS = 5;
/** The first wait before a request is made again, ms; each is twice the one before. */
const FIRST_WAIT = 200;

/** Where evidence goes, and whose it is. */
export interface UploadOptions {
  /** The server: `ws:`, `wss:`, `http:` or `https:`. */
  url: string;
  /** A token with `session:publish`, or what gives one. */
  token: string | (() => string | Promise<string>);
  /** The session whose events will name it. */
  sessionId: string;
  /** One of the types that the server takes, such as `image/png` (docs/http-api.md). A `Blob`'s own type if left out. */
  contentType?: string;
  /** Ends the upload; what arrived stays for the next one. */
  signal?: AbortSignal;
  /** Told after each part: bytes that the server has, and all. */
  onProgress?: (sent: number, total: number) => void;
}

/** What an `evidence` event says of its file: spread it into the event's data. */
export interface UploadedEvidence {
  /** 64 lowercase hexadecimal digits. */
  hash: string;
  contentType: string;
  /** Bytes. */
  size: number;
}

/** BLAKE3 of these bytes, as the server names them. */
export function evidenceHash(bytes: Uint8Array): string {
  return Array.from(blake3(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Uploads a file, or finds that the server has it. The promise is kept when the server has stored the whole.
 *
 * ```ts
 * const file = await uploadEvidence(screenshot, { url, token, sessionId: session.id, contentType: "image/png" });
 * await session.publish({ eventType: "evidence", kind: "screenshot", caption: "the cart", ...file });
 * ```
 *
 * @throws {@link ClientError} of kind `refused` if the server does not take it (too large, a type that it does not take, no permission,
 * an ended session), `timedOut` if it could not be reached five times in a row, `ended` if `signal` ended it.
 */
export async function uploadEvidence(data: Uint8Array | ArrayBuffer | Blob, options: UploadOptions): Promise<UploadedEvidence> {
  const contentType = options.contentType ?? (data instanceof Blob ? data.type : "");
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data instanceof Blob ? await data.arrayBuffer() : data);
  const hash = evidenceHash(bytes);
  const address = new URL(`api/v1/evidence/${hash}`, httpBase(options.url));
  address.searchParams.set("sessionId", options.sessionId);
  await new Upload(address, bytes, contentType, options).run();
  return { hash, contentType, size: bytes.length };
}

class Upload {
  readonly #address: URL;
  readonly #bytes: Uint8Array;
  readonly #contentType: string;
  readonly #options: UploadOptions;
  /** Failures since the last part that arrived. */
  #failures = 0;

  constructor(address: URL, bytes: Uint8Array, contentType: string, options: UploadOptions) {
    this.#address = address;
    this.#bytes = bytes;
    this.#contentType = contentType;
    this.#options = options;
  }

  async run(): Promise<void> {
    const total = this.#bytes.length;
    for (let received = await this.#insist(() => this.#ask()); received !== null; ) {
      this.#options.onProgress?.(received, total);
      const from = received;
      received = await this.#insist(() => this.#put(from));
    }
    this.#options.onProgress?.(total, total);
  }

  /** Bytes that the server has of it; null if it has all. */
  async #ask(): Promise<number | null> {
    const response = await this.#fetch("HEAD");
    // It is not there, or this is refused: a `HEAD` cannot say why, and the first part will be told.
    if (response.status >= 400 && response.status < 500) return 0;
    if (response.status === 204) return Number(response.headers.get("upload-offset") ?? 0);
    if (response.ok) return null;
    throw await refusal(response);
  }

  /** Sends what comes next. */
  async #put(from: number): Promise<number | null> {
    const [total, to] = [this.#bytes.length, Math.min(from + PART, this.#bytes.length)];
    const headers: Record<string, string> = { "Content-Type": this.#contentType };
    if (total > PART) headers["Content-Range"] = `bytes ${from}-${to - 1}/${total}`;
    const response = await this.#fetch("PUT", headers, this.#bytes.slice(from, to));
    // 409: another upload of the same file was quicker, or an answer was lost.
    const told = response.status === 202 || response.status === 409 ? ((await response.clone().json()) as { received?: unknown }).received : undefined;
    if (typeof told === "number") return told;
    if (response.ok) return null;
    throw await refusal(response);
  }

  async #fetch(method: string, headers: Record<string, string> = {}, body?: BodyInit): Promise<Response> {
    const { token, signal } = this.#options;
    const bearer = typeof token === "string" ? token : await token();
    return fetch(this.#address, { method, headers: { ...headers, Authorization: `Bearer ${bearer}` }, body: body ?? null, signal: signal ?? null, cache: "no-store" });
  }

  /** Makes a request again where that may help. */
  async #insist<T>(request: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        const answer = await request();
        this.#failures = 0;
        return answer;
      } catch (error) {
        if (this.#options.signal?.aborted) throw new ClientError("ended", "the upload was ended", { cause: error });
        if (error instanceof ClientError && !error.retryable) throw error;
        this.#failures += 1;
        if (this.#failures === ATTEMPTS) {
          throw error instanceof ClientError ? error : new ClientError("timedOut", `the server could not be reached: ${String(error)}`, { cause: error });
        }
        await new Promise((resolve) => setTimeout(resolve, FIRST_WAIT * 2 ** (this.#failures - 1) * (0.5 + Math.random() / 2)));
      }
    }
  }
}

/** What the server says that it refuses; a `HEAD` says nothing but its status. */
async function refusal(response: Response): Promise<ClientError> {
  const body = (await response.json().catch(() => null)) as { data?: ErrorData } | null;
  if (body?.data?.code) return refused(body.data);
  return new ClientError(response.status >= 500 ? "timedOut" : "unexpectedReply", `the server answers with HTTP status ${response.status}`);
}
