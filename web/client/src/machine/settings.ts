/** Everything that the connection machine is told before it starts. All times in ms. */
import type { Codec } from "../codec.js";

/** Longest time that a timer takes, ms (24.8 days): a longer one would be over at once. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** A moment, on both clocks that matter, in ms. */
export interface Now {
  /** Since any fixed moment, on a clock that never goes back. */
  readonly at: number;
  /** Of the wall clock, since 1970. */
  readonly unix: number;
}

/**
 * Exponential backoff with full jitter: before attempt *n* the client waits a random time between 0 and `base` · 2ⁿ, at
 * most `max`, so that a crowd of clients does not come back all at once.
 */
export interface Backoff {
  /** Longest wait before the first retry, ms. */
  base: number;
  /** Longest wait at all, ms. */
  max: number;
  /** Attempts in a row without any progress after which the client gives up; `null` for never. */
  attempts: number | null;
}

/**
 * What happens when the outbox is full: wait until there is room, fail at once with `outboxFull`, or give up the session's
 * oldest event that was never sent (and fail if there is none).
 */
export type OutboxPolicy = "wait" | "refuse" | "dropOldestUnsent";

/** What a machine needs to know; `ConnectOptions` says what each setting is for. */
export interface Settings {
  readonly codec: Codec;
  readonly token: string | null;
  readonly hasTokenProvider: boolean;
  readonly connectTimeout: number;
  readonly commandTimeout: number;
  readonly ackTimeout: number | null;
  readonly publishRetries: number | null;
  readonly outboxMessages: number;
  readonly outboxBytes: number;
  readonly outboxPolicy: OutboxPolicy;
  readonly inFlight: number;
  readonly backoff: Backoff;
  readonly heartbeatInterval: number | null;
  readonly silenceTimeout: number | null;
  /**
   * Who else may publish as this producer is settled elsewhere (a durable outbox), so close code 4409 does not end the
   * client: it tries again, and the outbox says whose turn it is.
   */
  readonly isFencedElsewhere: boolean;
  /** Evenly spread over [0, 1), and unforeseeable: the ids of messages come from it. */
  readonly random: () => number;
}

/** The wait before retry number `attempt` (0 for the first), ms. `random` is in [0, 1). */
export function delay(backoff: Backoff, attempt: number, random: number): number {
  return Math.min(backoff.base * 2 ** Math.min(attempt, 32), backoff.max) * random;
}
