/**
 * Hears the frames of a connection on their way to the SDK. The SDK keeps replayed entries out of its follows, rightly: they
 * are no news. The pages want them when the server plays a log, and take them from here.
 */
import { type Transport, webSocketTransport } from "@agentbench/client";
import type { LogMessage } from "../api/types.js";

/** Told each message of a replay, its `replay_finished` too. */
export type ReplayListener = (message: LogMessage) => void;

function isOfReplay(message: unknown): message is LogMessage {
  if (typeof message !== "object" || message === null) return false;
  const { replay, data } = message as Partial<LogMessage>;
  return replay === true || (typeof data === "object" && (data as { type?: unknown } | null)?.type === "replay_finished");
}

/** The browser's WebSocket, with an ear for replays. */
export function tappedTransport(heard: ReplayListener): Transport {
  const plain = webSocketTransport(WebSocket);
  return (request, events) => plain(request, {
    ...events,
    opened: (subprotocol) => events.opened(subprotocol),
    heard: () => events.heard(),
    refused: (status, retryAfter, body) => events.refused(status, retryAfter, body),
    closed: (code, reason) => events.closed(code, reason),
    received: (frame) => {
      // Reading a frame twice is only paid for while something is replayed.
      if (typeof frame === "string" && (frame.includes('"replay":true') || frame.includes('"replay_finished"'))) pass(frame, heard);
      events.received(frame);
    },
  });
}

function pass(frame: string, heard: ReplayListener): void {
  let whole: unknown;
  try {
    whole = JSON.parse(frame);
  } catch {
    // The SDK says what is to be said about it.
    return;
  }
  for (const message of Array.isArray(whole) ? (whole as unknown[]) : [whole]) if (isOfReplay(message)) heard(message);
}
