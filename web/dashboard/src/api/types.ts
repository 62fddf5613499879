/** What the HTTP API answers. Fields that newer servers add are optional: an older server shows less, and nothing breaks. */
import type { Envelope, SessionInfo as Info } from "@agentbench/client";

/** One session, with what the listing knows of its pace. */
export interface SessionInfo extends Info {
  /** When the newest event came, ms since 1970. */
  lastEventAt?: number | null;
  /** Its usual time between events, ms. */
  paceMs?: number | null;
  /** Running, and silent for much longer than its pace. */
  stalled?: boolean | null;
  /** Percent of its newest progress event. */
  progress?: number | null;
}

/** A page of sessions, newest first. */
export interface SessionPage {
  sessions: SessionInfo[];
  /** Where the next page begins; absent on the last one. */
  nextCursor?: string | null;
}

/** A message of a log as it was delivered. */
export type LogMessage = Envelope;

/** What was read of a range of a log, from its first seq on. */
export interface LogPart {
  messages: LogMessage[];
  /** Whether it is all of the range. */
  isWhole: boolean;
}

/** Percentiles of a latency over the last ten seconds. */
export interface Percentiles {
  p50Ms: number;
  p99Ms: number;
  count: number;
}

/** An alert that is firing. */
export interface Alert {
  name: string;
  severity: "warning" | "critical";
  since?: number | null;
  value?: number | null;
  threshold?: number | string | null;
  summary: string;
}

/** A rule that the server holds its own figures against. */
export interface Rule extends Alert {
  state: "ok" | "pending" | "firing";
  /** What value and threshold count. */
  unit?: string | null;
  /** What it means and what to do. */
  description?: string | null;
}

/** A rule has changed its state. */
export interface AlertChange {
  /** ms since 1970. */
  at: number;
  name: string;
  state: Rule["state"];
  value?: number | null;
}

/** All rules, and what changed lately. */
export interface Alerts {
  rules: Rule[];
  /** In the order of their time. */
  changes: AlertChange[];
}

/** A reader that is behind. */
export interface SlowReader {
  clientId: string;
  userId: string;
  sessionId: string;
  /** Events between it and the log's end. */
  behind: number;
}

/** How the server is. */
export interface Stats {
  connectedClients: number;
  activeSessions: number;
  totalMessages: number;
  messagesPerSecond: number;
  /** ms. */
  averageLatency: number;
  /** 0 to 1. */
  errorRate: number;
  memoryUsage: { rss: number; heapTotal: number; heapUsed: number };
  published?: Percentiles | null;
  delivered?: Percentiles | null;
  connectionsByKind?: { websocket: number; stream: number };
  sessionsByState?: Partial<Record<Info["status"], number>>;
  /** Cores used. */
  cpu?: number | null;
  fileDescriptors?: { used: number; limit: number } | null;
  disk?: { usedBytes: number; freeBytes: number } | null;
  queues?: { name: string; depth: number; bound?: number | null }[];
  slowestReaders?: SlowReader[];
  stalledSessions?: number;
  alerts?: Alert[];
  uptimeMs?: number;
  version?: string;
  node?: string;
}
