// Made from docs/protocol.schema.json by scripts/generate-types.mjs: change it there.

/** How far a reader has come, on which history. */
export interface Position {
  /** The life of the log that the seq counts in. */
  epoch: string;
  /** The last seq that the reader has. */
  seq: number;
  /** Id of the event at that seq, if it is known. */
  lastId?: string | null;
}

/** Acknowledgement, in its single and its coalesced form. */
export interface Ack {
  /** The coalesced form: event and seq of each. */
  acks?: [string, number][];
  /** Whether the event was already in the log; `seq` is that of the first one. */
  duplicate?: boolean;
  /** The epoch that the seq belongs to. */
  epoch?: string | null;
  /** What the ack guarantees. */
  level?: AckLevel | null;
  /** The event, in the single form. */
  originalMessageId?: string | null;
  /** The event's seq; from a client: the highest seq that it has. */
  seq?: number | null;
  /** The session. */
  sessionId?: string | null;
  /** Fields of the event that readers will not understand; it is in the log all the same. Only in the single form. */
  warnings?: Warning[];
}

/**
 * What an ack guarantees. Ordered: a later level includes the earlier ones.
 * 
 * - `received`: The server has it in memory.
 * - `logged`: Written by the log: survives a crash of the process.
 * - `synced`: Fsynced: survives power loss.
 * - `replicated`: A quorum of the cluster has it.
 */
export type AckLevel =
  | "received"
  | "logged"
  | "synced"
  | "replicated";

/** Fields of `create_session`. */
export interface CreateSession {
  /** The agent under test. */
  agentName: string;
  /** Whether the creator also receives the session's events. */
  follow?: boolean;
  /** Further data, an object; shown in listings. */
  metadata?: Record<string, unknown> | null;
  /** The session's project. */
  projectId: string;
  /** The test case to run. */
  testId: string;
}

export interface Envelope {
  data: Record<string, unknown>;
  id: string;
  metadata?: {
    checksum?: string;
    /**
     * Determines what is refused first under overload, and which session goes first on a shared connection. Never changes a session's
     * order.
     */
    priority?: "low" | "normal" | "high" | "critical";
    requiresAck?: boolean;
    retryCount?: number;
    traceparent?: string;
    ttl?: number;
  };
  /** ms since 1970, added by the server */
  receivedAt?: number;
  replay?: boolean;
  /** The sender of an event. */
  sender?: {
    /** The connection. */
    clientId: string;
    /** The user's role. */
    role: string;
    /** The user. */
    userId: string;
    /** The user's name. */
    username: string;
  };
  /** added by the server on entries of a log */
  seq?: number;
  sessionId?: string;
  timestamp: number;
  /** `type` of a message. */
  type: "test_event" | "control_command" | "system_message" | "heartbeat" | "error";
}

/**
 * Every code that an `error` message can carry.
 * 
 * - `malformed_json`: The frame is not JSON (or not MessagePack).
 * - `invalid_message`: A field is missing, of the wrong type or out of range; `field` names it.
 * - `unknown_type`: The envelope's `type` is not one that a client may send.
 * - `unknown_command`: `data.command` is unknown.
 * - `not_authenticated`: There is no valid token.
 * - `forbidden`: The token does not permit this, or not in this project.
 * - `session_not_found`: There is no session with this id that the user may see.
 * - `session_closed`: The session has ended or expired and accepts no events.
 * - `session_limit`: The limit of sessions is reached (`MAX_SESSIONS`, or a user's own limit).
 * - `not_a_participant`: Publishing requires participation: create or join the session first.
 * - `id_conflict`: The same producer has used this id for other content.
 * - `invalid_transition`: The session's state does not allow this lifecycle step.
 * - `invalid_position`: The position cannot exist in any log.
 * - `payload_too_large`: The message is larger than `maxPayload`.
 * - `checksum_mismatch`: `metadata.checksum` does not match `data`.
 * - `rate_limited`: Sent faster than the limit allows.
 * - `overloaded`: The server is overloaded.
 * - `log_unavailable`: The log accepts no appends now (disk full or failed); reads continue.
 * - `not_found`: HTTP only: nothing exists under this name.
 * - `internal`: A bug in the server.
 */
export type ErrorCode =
  | "malformed_json"
  | "invalid_message"
  | "unknown_type"
  | "unknown_command"
  | "not_authenticated"
  | "forbidden"
  | "session_not_found"
  | "session_closed"
  | "session_limit"
  | "not_a_participant"
  | "id_conflict"
  | "invalid_transition"
  | "invalid_position"
  | "payload_too_large"
  | "checksum_mismatch"
  | "rate_limited"
  | "overloaded"
  | "log_unavailable"
  | "not_found"
  | "internal";

/** Content of an `error` message. */
export interface ErrorData {
  /** The code. */
  code: ErrorCode;
  /** An explanation for people. */
  error: string;
  /** The invalid field. */
  field?: string | null;
  /** The id of the refused message, if it could be parsed. */
  originalMessageId?: string | null;
  /** When to try again. */
  retryAfterMs?: number | null;
  /** Whether the same message may succeed later. */
  retryable: boolean;
}

/**
 * Why a reader will not receive a range of seqs.
 * 
 * - `expired`: Their time to live expired before delivery to this reader.
 * - `overflow`: The reader was too far behind.
 * - `retention`: Removed by retention.
 * - `epoch`: They belong to another epoch of the log.
 * - `diverged`: The reader's history differs from this log's.
 * - `damaged`: The stored bytes fail their checksum and are never delivered.
 */
export type GapCause =
  | "expired"
  | "overflow"
  | "retention"
  | "epoch"
  | "diverged"
  | "damaged";

/** Fields of `get_session_list`. */
export interface GetSessionList {
  /** Where the last page ended (`nextCursor`). */
  cursor?: string | null;
  /** Maximum number of sessions in the page. */
  limit?: number;
  /** Only sessions of this project. */
  projectId?: string | null;
  /** Only sessions whose agent, test, project or id contains this text, ignoring case. */
  q?: string | null;
  /** Only sessions in this state. */
  status?: Status | null;
}

/** The answer to a join: the state of the log, and where delivery starts. */
export interface Joined {
  /** The epoch of its log. */
  epoch: string;
  /** The position after which delivery begins. */
  from: Position;
  /** The last seq in the log now. */
  headSeq: number;
  /** The command. */
  originalMessageId: string;
  /** Why not. */
  reason?: NotRecovered | null;
  /** Whether the requested position could be resumed. */
  recovered: boolean;
  /** The session. */
  session: SessionInfo;
  /** The session. */
  sessionId: string;
}

/**
 * Why a position could not be resumed.
 * 
 * - `unknown_epoch`: The log has another epoch.
 * - `ahead_of_log`: The log does not reach that far.
 * - `diverged`: The log has another event at that seq.
 * - `trimmed`: The events after it were removed by retention.
 */
export type NotRecovered =
  | "unknown_epoch"
  | "ahead_of_log"
  | "diverged"
  | "trimmed";

/** A connection that has joined a session. */
export interface Participant {
  /** The highest seq that it acknowledged, if any. */
  ackedSeq?: number | null;
  /** The connection. */
  clientId: string;
  /** Whether it receives the session's events. */
  following: boolean;
  /** The user's role. */
  role: string;
  /** The user id. */
  userId: string;
  /** The user's name. */
  username: string;
}

/** The participants of a session, after one joined or left. */
export interface Presence {
  /** Number of participants now. */
  count: number;
  /** The participants now: the first [`crate::limits::MAX_PRESENCE_LIST`] of them. */
  participants: Participant[];
  /** The session. */
  sessionId: string;
  /** The participant that joined or left. */
  user: Participant;
}

/**
 * What a client should do after a disconnect.
 * 
 * - `now`: Reconnect at once (with the usual backoff).
 * - `after`: Reconnect after `afterMs`.
 * - `refresh_token`: Get a new token first.
 * - `never`: Do not reconnect.
 */
export type Reconnect =
  | "now"
  | "after"
  | "refresh_token"
  | "never";

/** One session as clients see it. */
export interface SessionInfo {
  /** The agent under test. */
  agentName: string;
  /** When it was created, ms since 1970. */
  createdAt: number;
  /** User who created it. */
  createdBy: string;
  /** When the session ended, ms since 1970. */
  endedAt?: number | null;
  /** The epoch of its log. */
  epoch: string;
  /** The last seq in its log. */
  headSeq: number;
  /** When the newest event was accepted, ms since 1970; absent if unknown. */
  lastEventAt?: number | null;
  /** The creator's metadata. */
  metadata?: Record<string, unknown> | null;
  /** The session's own usual time between events, ms: an exponentially weighted mean. */
  paceMs?: number | null;
  /** The current participants. Empty in listings. */
  participants?: Participant[];
  /** Percent of its newest `progress` event. */
  progress?: number | null;
  /** Its project. */
  projectId: string;
  /** Why it ended, if a reason was given. */
  reason?: string | null;
  /** Its id. */
  sessionId: string;
  /** For a running session: whether it has had no events for much longer than usual. */
  stalled?: boolean | null;
  /** When the test was first started, ms since 1970. */
  startedAt?: number | null;
  /** Its state. */
  status: Status;
  /** The test case. */
  testId: string;
}

/**
 * State in the lifecycle `idle → running ⇄ paused → completed | error`. A session that is not used expires.
 * 
 * - `idle`: Created, not started.
 * - `running`: The test is running.
 * - `paused`: The test is paused.
 * - `completed`: Ended normally.
 * - `error`: Ended with an error.
 * - `expired`: Ended by the server, since it was not used for `SESSION_TIMEOUT`.
 */
export type Status =
  | "idle"
  | "running"
  | "paused"
  | "completed"
  | "error"
  | "expired";

/** Content of a `system_message`. */
export type SystemMessage =
  /** The first message on every connection. */
  | {
    /** What acks of this server guarantee. */
    ackLevel: AckLevel;
    /** Id of this connection. */
    clientId: string;
    /** Time between pings, ms. */
    heartbeatInterval: number;
    /** Largest message, bytes. */
    maxPayload: number;
    /** Name of the node. */
    node: string;
    /** Version of this protocol. */
    protocolVersion: number;
    /** Name and version of the software. */
    server: string;
    /** When the token expires, ms since 1970. */
    tokenExpiresAt?: number | null;
    type: "connection_established";
  }
  /** Reply to `create_session`; in a log, its first entry. */
  | {
    /** The epoch of its log. */
    epoch: string;
    /** The command. */
    originalMessageId?: string | null;
    /** The session. */
    session: SessionInfo;
    /** The new session. */
    sessionId: string;
    type: "session_created";
  }
  /** Reply to `join_session`. */
  | Joined & {
    type: "session_joined";
  }
  /** Reply to `subscribe_session`. */
  | Joined & {
    type: "session_subscribed";
  }
  /** Reply to `leave_session`. */
  | {
    /** The command. */
    originalMessageId: string;
    /** The session. */
    sessionId: string;
    type: "session_left";
  }
  /** Reply to `unsubscribe_session`. */
  | {
    /** The command. */
    originalMessageId: string;
    /** The session. */
    sessionId: string;
    type: "session_unsubscribed";
  }
  /** idle → running; an entry of the log, and the reply to `start_test`. */
  | Transition & {
    type: "session_started";
  }
  /** running → paused; an entry of the log, and the reply to `pause_test`. */
  | Transition & {
    type: "session_paused";
  }
  /** paused → running; an entry of the log, and the reply to `resume_test`. */
  | Transition & {
    type: "session_resumed";
  }
  /** The end; an entry of the log, and the reply to `stop_test`. */
  | Transition & {
    type: "session_stopped";
  }
  /** The end by timeout; an entry of the log. */
  | Transition & {
    type: "session_expired";
  }
  /** Reply to `get_session_info`. */
  | {
    /** The command. */
    originalMessageId: string;
    /** The session. */
    session: SessionInfo;
    type: "session_info";
  }
  /** Reply to `get_session_list`. */
  | {
    /** Where the next page begins; absent on the last one. */
    nextCursor?: string | null;
    /** The command. */
    originalMessageId: string;
    /** A page of sessions. */
    sessions: SessionInfo[];
    type: "session_list";
  }
  /** Reply to `get_history`. */
  | {
    /** Whole messages as they were delivered. */
    events: unknown[];
    /** Where the next page begins; absent at the end of the log. */
    nextSeq?: number | null;
    /** The command. */
    originalMessageId: string;
    /** The session. */
    sessionId: string;
    type: "session_history";
  }
  /** Reply to `replay_session`. */
  | {
    /** First seq of the replay. */
    fromSeq: number;
    /** Longest pause between two events, ms: longer pauses of the log are cut to it. 0 from servers that do not cut pauses. */
    longestPauseMs?: number;
    /** The command. */
    originalMessageId: string;
    /** The session. */
    sessionId: string;
    /** Factor of the log's own pace. */
    speed: number;
    /** Last seq of the replay. */
    toSeq: number;
    type: "replay_started";
  }
  /** The end of a replay. */
  | {
    /** The command that started it. */
    originalMessageId: string;
    /** The session. */
    sessionId: string;
    /** Last seq that was sent. */
    toSeq: number;
    type: "replay_finished";
  }
  /** Reply to `stop_replay`: nothing of that replay follows it. */
  | {
    /** The command. */
    originalMessageId: string;
    /** Last seq that was sent; one before the first if none was. */
    seq: number;
    /** The session. */
    sessionId: string;
    type: "replay_stopped";
  }
  /** Reply to `refresh_token`. */
  | {
    /** The command. */
    originalMessageId: string;
    /** When the new token expires, ms since 1970. */
    tokenExpiresAt?: number | null;
    type: "token_refreshed";
  }
  /** Reply to `get_stats`. */
  | {
    /** The command. */
    originalMessageId: string;
    /** The object of `GET /api/v1/stats`. */
    stats: Record<string, unknown>;
    type: "stats";
  }
  /** From the server: the outcome of published events. From a client: how far it has read. */
  | Ack & {
    type: "ack";
  }
  /** A range of seqs that this reader will not receive. */
  | {
    /** The cause. */
    cause: GapCause;
    /** First seq. */
    fromSeq: number;
    /** Whether `get_history` still has them. */
    history: boolean;
    /** The session. */
    sessionId: string;
    /** Last seq. */
    toSeq: number;
    type: "gap";
  }
  /** A participant joined; sent to participants, not logged. */
  | Presence & {
    type: "user_joined";
  }
  /** A participant left; sent to participants, not logged. */
  | Presence & {
    type: "user_left";
  }
  /** The last message before the server closes the connection. */
  | {
    /** When, for `after`. */
    afterMs?: number | null;
    /** A short name of the reason. */
    cause: string;
    /** The close code that follows. */
    code: number;
    /** An explanation for people. */
    detail: string;
    /** What to do. */
    reconnect: Reconnect;
    type: "disconnecting";
  };

/** One step of a session's lifecycle. */
export interface Transition {
  /** Whether the same command was carried out before, and this repeats the answer. */
  duplicate?: boolean;
  /** The state before. */
  from: Status;
  /** The command, in its reply; absent in the log's entry. */
  originalMessageId?: string | null;
  /** The reason, if one was given. */
  reason?: string | null;
  /** The seq of the log's entry, in a reply. */
  seq?: number | null;
  /** The session. */
  sessionId: string;
  /** The state now. */
  status: Status;
}

/** A field of a known event type that readers will not understand. */
export interface Warning {
  /** What it should be. */
  detail: string;
  /** The field's path, for example `data.score`. */
  field: string;
}
