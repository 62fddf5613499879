/** The commands about sessions and the token: each is one message and its reply. */
import type { Envelope, GetSessionList, SystemMessage } from "./protocol.js";
import { type Reply, expectReply } from "./replies.js";

/**
 * What a client can ask of the server. All of them reject with `refused`, `timedOut`, `ended`, `fenced` or
 * `unexpectedReply`.
 */
export abstract class Commands {
  /** Sends any command and gives its reply. */
  abstract command(data: { command: string } & Record<string, unknown>): Promise<SystemMessage>;

  /** Sends a command, about a session if one is named, and gives a reply of this type. */
  async #ask<T extends SystemMessage["type"]>(type: T, command: string, sessionId?: string, more: object = {}): Promise<Reply<T>> {
    return expectReply(await this.command({ ...more, command, sessionId: sessionId?.toLowerCase() }), type);
  }

  /** idle → running. */
  start(sessionId: string): Promise<Reply<"session_started">> {
    return this.#ask("session_started", "start_test", sessionId);
  }

  /** running → paused. */
  pause(sessionId: string): Promise<Reply<"session_paused">> {
    return this.#ask("session_paused", "pause_test", sessionId);
  }

  /** paused → running. */
  resume(sessionId: string): Promise<Reply<"session_resumed">> {
    return this.#ask("session_resumed", "resume_test", sessionId);
  }

  /** Ends the session. */
  stop(sessionId: string, outcome: "completed" | "error" = "completed", reason?: string): Promise<Reply<"session_stopped">> {
    return this.#ask("session_stopped", "stop_test", sessionId, { outcome, reason });
  }

  /** One session's state. */
  async getSessionInfo(sessionId: string): Promise<Reply<"session_info">["session"]> {
    return (await this.#ask("session_info", "get_session_info", sessionId)).session;
  }

  /** A page of the sessions that the user may see, newest first. `nextCursor` is where the next page begins. */
  list(query: GetSessionList = {}): Promise<Pick<Reply<"session_list">, "sessions" | "nextCursor">> {
    return this.#ask("session_list", "get_session_list", undefined, query);
  }

  /** A page of a session's log: whole messages as they were delivered. `limit` is 1 to 1000; `nextSeq` begins the next page. */
  async getHistory(sessionId: string, fromSeq = 1, limit = 1000): Promise<{ events: Envelope[]; nextSeq: number | null }> {
    const { events, nextSeq } = await this.#ask("session_history", "get_history", sessionId, { fromSeq, limit });
    return { events: events as Envelope[], nextSeq: nextSeq ?? null };
  }

  /** Gives the server a newer token of the same user, which later connections use as well. Gives when it ends, ms since 1970. */
  async refreshToken(token: string): Promise<number | null> {
    return (await this.#ask("token_refreshed", "refresh_token", undefined, { token })).tokenExpiresAt ?? null;
  }
}

/** The server writes sessions' names in small letters. */
export function normal(sessionId: string): string {
  return sessionId.toLowerCase();
}
