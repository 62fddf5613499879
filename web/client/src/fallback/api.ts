/** Requests to the HTTP API, and what their answers are to a client of the socket's protocol. */
import type { ErrorData } from "../protocol.js";

/** How long a request may take, from its start to the end of its answer, ms. */
const REQUEST_TIMEOUT = 30_000;
/** Most characters of an answer that is none of the server's. */
const MAX_DETAIL = 200;

/** The server refused a request, and says so in the protocol's words. */
export class Refusal extends Error {
  readonly status: number;
  readonly data: ErrorData;

  constructor(status: number, data: ErrorData) {
    super(data.error);
    this.status = status;
    this.data = data;
  }
}

/** What answers is not the server: a proxy's page, or nothing. */
export class Unusable extends Error {
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

/** `ws://host/path/ws` → `http://host/path/`. */
export function httpBase(url: string): string {
  const base = new URL(url);
  base.protocol = base.protocol.replace("ws", "http");
  base.pathname = base.pathname.replace(/\/(ws)?$/, "") + "/";
  base.search = base.hash = "";
  return base.href;
}

/** The API as one client uses it. */
export class Api {
  readonly #base: string;
  /** Goes with each POST. */
  readonly #query: string;
  /** Used from the next request on. */
  token: string | null;
  /**
   * The server's clock at its last answer, ms since 1970. A page of another origin may not see it: then it is the moment when the token was
   * made, and 0 if nobody says.
   */
  time = 0;

  constructor(url: string, token: string | null, producerId: string, strict = false) {
    this.#base = httpBase(url);
    this.token = token;
    // In the address: a header cannot carry every character.
    this.#query = `?producerId=${encodeURIComponent(producerId)}`;
    if (strict || new URL(url).searchParams.get("strict") === "1") this.#query += "&strict=1";
  }

  /** Asks, and gives an answer that is good. Throws `Refusal`, `Unusable`, or what `fetch` throws. */
  async send(path: string, init: RequestInit & { token?: string } = {}): Promise<Response> {
    const { token = this.token, ...rest } = init;
    const headers = new Headers(rest.headers);
    if (token !== null && path !== "healthz") headers.set("Authorization", `Bearer ${token}`);
    const query = rest.method === "POST" ? this.#query : "";
    const response = await fetch(this.#base + path + query, { ...rest, headers, cache: "no-store", redirect: "error" });
    this.time = Date.parse(response.headers.get("date") ?? "") || (timeIn(token, "iat") ?? 0);
    if (response.ok) return response;
    throw await failureOf(response);
  }

  /** The same within a time; for what is not a stream. */
  ask(path: string, init: RequestInit & { token?: string } = {}): Promise<Response> {
    const limit = AbortSignal.timeout(REQUEST_TIMEOUT);
    return this.send(path, { ...init, signal: init.signal ? AbortSignal.any([init.signal, limit]) : limit });
  }

  async json(path: string, init?: RequestInit & { token?: string }): Promise<Record<string, unknown>> {
    return (await (await this.ask(path, init)).json()) as Record<string, unknown>;
  }

  /** Asks whether this server answers and takes the token. Throws as `send` does. */
  async check(token?: string, signal?: AbortSignal): Promise<void> {
    try {
      const page = await this.json("api/v1/sessions?limit=1", { ...(token !== undefined && { token }), ...(signal && { signal }) });
      if (!Array.isArray(page.sessions)) throw new Unusable(200, "what answers over HTTP is not the server");
    } catch (error) {
      // Whoever may not list sessions is known to the server all the same.
      if (!(error instanceof Refusal && error.status === 403)) throw error;
    }
  }
}

async function failureOf(response: Response): Promise<Refusal | Unusable> {
  const text = await response.text().catch(() => "");
  try {
    const { type, data } = JSON.parse(text) as { type?: unknown; data?: Partial<ErrorData> };
    if (type === "error" && typeof data?.code === "string" && typeof data.error === "string") {
      return new Refusal(response.status, { retryable: false, ...data } as ErrorData);
    }
  } catch {
    // Not the server's words.
  }
  return new Unusable(response.status, `HTTP status ${response.status}: ${text.slice(0, MAX_DETAIL)}`);
}

/** When a token was made (`iat`) or ends (`exp`), ms since 1970, if it says so. */
export function timeIn(token: string | null, claim: "iat" | "exp"): number | null {
  try {
    const [, claims = ""] = (token ?? "").split(".");
    const { [claim]: seconds } = JSON.parse(atob(claims.replace(/-/g, "+").replace(/_/g, "/"))) as Record<string, unknown>;
    return typeof seconds === "number" ? seconds * 1000 : null;
  } catch {
    return null;
  }
}
