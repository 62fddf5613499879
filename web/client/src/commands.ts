/** The commands about sessions and the token: each is one message and its reply. */
import type { Envelope, GetSessionList, SystemMessage } from "./protocol.js";
import { type Reply, expectReply } from "./replies.js";

/** Most events of one page of a log. */
const HISTORY_PAGE = 1000;

/**
 * What a client can ask of the server. All of them reject with `refused`, `timedOut`, `ended`, `fenced` or
 * `unexpectedReply`.
 */
export abstract class Commands {
  /** Sends any command and gives its reply. */
  abstract command(data: { command: string } & Record<string, unknown>): Promise<SystemMessage>;

  /** idle → running. */
  async start(sessionId: string): Promise<Reply<"session_started">> {
    return expectReply(await this.command({ command: "start_test", sessionId: normal(sessionId) }), "session_started");
  }

  /** running → paused. */
  async pause(sessionId: string): Promise<Reply<"session_paused">> {
    return expectReply(await this.command({ command: "pause_test", sessionId: normal(sessionId) }), "session_paused");
  }

  /** paused → running. */
  async resume(sessionId: string): Promise<Reply<"session_resumed">> {
    return expectReply(await this.command({ command: "resume_test", sessionId: normal(sessionId) }), "session_resumed");
  }

  /** Ends the session. */
  async stop(sessionId: string, outcome: "completed" | "error" = "completed", reason?: string): Promise<Reply<"session_stopped">> {
    const command = { command: "stop_test", sessionId: normal(sessionId), outcome, ...(reason !== undefined && { reason }) };
    return expectReply(await this.command(command), "session_stopped");
  }

  /** One session's state. */
  async getSessionInfo(sessionId: string): Promise<Reply<"session_info">["session"]> {
    return expectReply(await this.command({ command: "get_session_info", sessionId: normal(sessionId) }), "session_info").session;
  }

  /** A page of the sessions that the user may see, newest first. `nextCursor` is where the next page begins. */
  async list(query: GetSessionList = {}): Promise<Pick<Reply<"session_list">, "sessions" | "nextCursor">> {
    return expectReply(await this.command({ ...query, command: "get_session_list" }), "session_list");
  }

  /** A page of a session's log: whole messages as they were delivered. `limit` is 1 to 1000; `nextSeq` begins the next page. */
  async getHistory(sessionId: string, fromSeq = 1, limit = HISTORY_PAGE): Promise<{ events: Envelope[]; nextSeq: number | null }> {
    const command = { command: "get_history", sessionId: normal(sessionId), fromSeq, limit: Math.min(Math.max(limit, 1), HISTORY_PAGE) };
    const { events, nextSeq } = expectReply(await this.command(command), "session_history");
    return { events: events as Envelope[], nextSeq: nextSeq ?? null };
  }

  /** Gives the server a newer token of the same user, which later connections use as well. Gives when it ends, ms since 1970. */
  async refreshToken(token: string): Promise<number | null> {
    const reply = await this.command({ command: "refresh_token", token });
    return expectReply(reply, "token_refreshed").tokenExpiresAt ?? null;
  }
}

/** The server writes sessions' names in small letters. */
export function normal(sessionId: string): string {
  return sessionId.toLowerCase();
}
