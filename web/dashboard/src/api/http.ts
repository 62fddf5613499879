/** The calls of the HTTP API. Each rejects with a `Failure`. */
import { Failure } from "./failure.js";
import type { Alerts, LogMessage, SessionInfo, SessionPage, Stats } from "./types.js";

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
  readonly #onUnauthenticated: () => void;

  /** `onUnauthenticated` is told when the server does not take the token any more. */
  constructor(token: string, onUnauthenticated: () => void = () => undefined) {
    this.#token = token;
    this.#onUnauthenticated = onUnauthenticated;
  }

  /** One answer; refusals become failures with the protocol's code. */
  async #get(path: string, signal?: AbortSignal): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(path, { headers: { Authorization: `Bearer ${this.#token}` }, ...(signal && { signal }) });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Failure("network", String(error));
    }
    if (response.ok) return response;
    if (response.status === 401) this.#onUnauthenticated();
    throw await refusal(response);
  }

  async #json<T>(path: string, signal?: AbortSignal): Promise<T> {
    const response = await this.#get(path, signal);
    try {
      return (await response.json()) as T;
    } catch (error) {
      throw new Failure("unexpected", String(error));
    }
  }

  /** How the server is; needs connection:list. */
  stats(): Promise<Stats> {
    return this.#json("/api/v1/stats");
  }

  /** The rules of the server's alerts; needs connection:list. */
  alerts(): Promise<Alerts> {
    return this.#json("/api/v1/alerts");
  }

  /** A page of sessions. */
  sessions(query: SessionQuery, signal?: AbortSignal): Promise<SessionPage> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
    const text = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)])).toString();
    return this.#json(`/api/v1/sessions${text === "" ? "" : `?${text}`}`, signal);
  }

  /** One session, with its participants. */
  session(id: string): Promise<SessionInfo> {
    return this.#json(`/api/v1/sessions/${encodeURIComponent(id)}`);
  }

  /** Entries of a range of the log, gap messages among them. Rejects if the answer breaks off. */
  async events(id: string, fromSeq: number, toSeq: number, signal?: AbortSignal): Promise<LogMessage[]> {
    const response = await this.#get(`/api/v1/sessions/${encodeURIComponent(id)}/events?fromSeq=${fromSeq}&toSeq=${toSeq}`, signal);
    let text: string;
    try {
      text = await response.text();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Failure("network", String(error));
    }
    return readLines(text);
  }

  /** The session as a file. */
  async export(id: string, format: "jsonl" | "html"): Promise<Blob> {
    const response = await this.#get(`/api/v1/sessions/${encodeURIComponent(id)}/export?format=${format}`);
    return response.blob();
  }

  /** The bytes of a piece of evidence. */
  async evidence(hash: string, sessionId: string): Promise<Blob> {
    const response = await this.#get(`/api/v1/evidence/${encodeURIComponent(hash)}?sessionId=${encodeURIComponent(sessionId)}`);
    return response.blob();
  }
}

/** Lines of JSON. A line that is none makes the whole answer unreadable: nothing is left out quietly. */
function readLines(text: string): LogMessage[] {
  try {
    return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as LogMessage);
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
