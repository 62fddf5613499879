/** The calls of the HTTP API. Each rejects with a `Failure`. */
import { addressOf } from "../address.js";
import { learn } from "../clock.js";
import { Failure } from "./failure.js";
import type { Alerts, LogMessage, LogPart, SessionInfo, SessionPage, Stats } from "./types.js";

/** What is asked of the list of sessions. */
export interface SessionQuery {
  q?: string;
  status?: string;
  projectId?: string;
  limit?: number;
  cursor?: string;
}

/** The calls, for one token. */
export class Api {
  readonly #token: string;
  readonly #onUnauthenticated: (why: string) => void;

  /** `onUnauthenticated` is told when the server does not take the token any more, with the server's reason. */
  constructor(token: string, onUnauthenticated: (why: string) => void = () => undefined) {
    this.#token = token;
    this.#onUnauthenticated = onUnauthenticated;
  }

  /** One answer; refusals become failures with the protocol's code. `isKept` if the browser may keep it. */
  async #get(path: string, { isKept = false, ...init }: RequestInit & { isKept?: boolean } = {}): Promise<Response> {
    const { signal } = init;
    const asked = Date.now();
    let response: Response;
    try {
      response = await fetch(addressOf(path), { ...init, headers: { Authorization: `Bearer ${this.#token}` }, ...(!isKept && { cache: "no-store" }) });
      // What a cache gives has the time of another day.
      if (!isKept) learn(response, asked);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Failure("network", String(error));
    }
    if (response.ok) return response;
    const failure = await refusal(response);
    if (response.status === 401) this.#onUnauthenticated(failure.message);
    throw failure;
  }

  async #json<T>(path: string, signal?: AbortSignal): Promise<T> {
    const response = await this.#get(path, signal ? { signal } : {});
    try {
      return (await response.json()) as T;
    } catch (error) {
      throw new Failure("unexpected", String(error));
    }
  }

  /** How the server is; needs connection:list. */
  stats(): Promise<Stats> {
    return this.#json("api/v1/stats");
  }

  /** The rules of the server's alerts; needs connection:list. */
  alerts(): Promise<Alerts> {
    return this.#json("api/v1/alerts");
  }

  /** A page of sessions. */
  sessions(query: SessionQuery, signal?: AbortSignal): Promise<SessionPage> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
    const text = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)])).toString();
    return this.#json(`api/v1/sessions${text === "" ? "" : `?${text}`}`, signal);
  }

  /** One session, with its participants. */
  session(id: string): Promise<SessionInfo> {
    return this.#json(`api/v1/sessions/${encodeURIComponent(id)}`);
  }

  /**
   * Entries of a range of the log, gap messages among them. An answer of more than `most` bytes is read as far as that, and at
   * least one entry. Rejects if the answer breaks off.
   */
  async events(id: string, fromSeq: number, toSeq: number, most = Infinity): Promise<LogPart> {
    const response = await this.#get(`api/v1/sessions/${encodeURIComponent(id)}/events?fromSeq=${fromSeq}&toSeq=${toSeq}`);
    return readPart(response, most);
  }

  /** The session as a file. */
  async export(id: string, format: "jsonl" | "html"): Promise<Blob> {
    const response = await this.#get(`api/v1/sessions/${encodeURIComponent(id)}/export?format=${format}`);
    return response.blob();
  }

  /** Asks whether a piece of evidence is there. */
  async hasEvidence(hash: string, sessionId: string): Promise<void> {
    await this.#get(`api/v1/evidence/${encodeURIComponent(hash)}?sessionId=${encodeURIComponent(sessionId)}`, { method: "HEAD" });
  }

  /** The bytes of a piece of evidence. */
  async evidence(hash: string, sessionId: string): Promise<Blob> {
    const response = await this.#get(`api/v1/evidence/${encodeURIComponent(hash)}?sessionId=${encodeURIComponent(sessionId)}`, { isKept: true });
    return response.blob();
  }
}

/** Reads an answer of lines of JSON, until there are more than `most` bytes of it. */
export async function readPart(response: Response, most: number): Promise<LogPart> {
  const messages: LogMessage[] = [];
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  /** The beginning of a line, in the pieces in which it came: put together once, when its end is here. */
  let begun: string[] = [];
  let bytes = 0;
  for (;;) {
    let read: { done: boolean; value?: Uint8Array | undefined } | undefined;
    try {
      read = await reader?.read();
    } catch (error) {
      throw new Failure("network", String(error));
    }
    const isWhole = read?.done !== false;
    bytes += read?.value?.length ?? 0;
    const lines = (isWhole ? decoder.decode() : decoder.decode(read?.value, { stream: true })).split("\n");
    const last = lines.pop() ?? "";
    for (const line of lines) {
      messages.push(...readLine(begun.join("") + line));
      begun = [];
    }
    begun.push(last);
    if (isWhole) return { messages: [...messages, ...readLine(begun.join(""))], isWhole };
    if (bytes > most && messages.length > 0) {
      await reader?.cancel().catch(() => undefined);
      return { messages, isWhole };
    }
  }
}

/** A line of JSON. One that is none makes the whole answer unreadable: nothing is left out quietly. */
function readLine(line: string): LogMessage[] {
  if (line === "") return [];
  try {
    return [JSON.parse(line) as LogMessage];
  } catch (error) {
    throw new Failure("unexpected", String(error));
  }
}

async function refusal(response: Response): Promise<Failure> {
  try {
    const { data } = (await response.json()) as { data: { code: string; error: string } };
    return new Failure(data.code, data.error);
  } catch {
    const code = response.status === 401 ? "not_authenticated" : response.status === 404 ? "not_found" : "unexpected";
    return new Failure(code, `HTTP status ${response.status}`);
  }
}
