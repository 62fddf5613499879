/** A session's log, played again at its own pace. Loaded with the first replay. */
import type { Driver } from "./driver.js";
import { Follow } from "./follow.js";
import type { EventItem, GapItem, LifecycleItem } from "./item.js";
import { replaysOf } from "./machine/replays.js";
import type { Now } from "./machine/settings.js";
import type { State } from "./machine/state.js";
import type { Joined, SystemMessage } from "./protocol.js";
import { expectReply } from "./replies.js";

/** One step of a replay: an entry of the log, or entries that it has no more. None of them is new. */
export type ReplayItem = (EventItem | LifecycleItem | GapItem) & { replay: true };

/** How to replay. */
export interface ReplayOptions {
  /** Factor of the log's own pace, 0.25 to 64. 1 by default. */
  speed?: number;
  /** First seq. 1 by default. */
  fromSeq?: number;
}

/**
 * A session that is replayed, up to the end that its log had at the start; it goes on over reconnects where it was. The
 * iterator ends with the replay, or throws the error that has ended it. A reader that is slow makes the replay wait.
 *
 * ```ts
 * for await (const item of await client.replaySession(id, { speed: 8 })) show(item);
 * ```
 */
export class Replay implements AsyncIterable<ReplayItem> {
  readonly #items: Follow;

  /** @internal */
  constructor(items: Follow, readonly fromSeq: number, readonly toSeq: number) {
    this.#items = items;
  }

  /** The next item; waits for it. `done` after the end. */
  async next(): Promise<IteratorResult<ReplayItem, undefined>> {
    const result = await this.#items.next();
    return result.done ? { done: true, value: undefined } : { done: false, value: { ...(result.value as EventItem), replay: true } };
  }

  /** The items, one after the other. Leaving the loop closes the replay. */
  [Symbol.asyncIterator](): AsyncIterator<ReplayItem, undefined> {
    return {
      next: () => this.next(),
      return: () => {
        this.close();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  /** Ends it, and asks the server to send no more of it; an older server sends the rest, which is passed over. */
  close(): void {
    this.#items.close();
  }
}

/** What a replay needs of its client. */
export interface ReplayHost {
  /** Items that may wait for the reader. */
  readonly buffer: number;
  readonly state: State;
  readonly driver: Driver;
  /** What tells its items apart from those of others. */
  readonly key: number;
  /** Where its items are to go. */
  readonly follows: Map<number, Follow>;
  /** Asks for something, and waits for the reply. */
  expect(ask: (state: State, now: Now, replyKey: number) => void): Promise<SystemMessage>;
}

/** @internal Begins one. */
export async function startReplay(session: string, { speed = 1, fromSeq = 1 }: ReplayOptions, host: ReplayHost): Promise<Replay> {
  const { key, follows, driver } = host;
  const replays = replaysOf(host.state);
  const leave = (): void => {
    follows.delete(key);
    driver.run((_, now) => {
      replays.stop(now, session, key);
    });
  };
  const items = new Follow(session, Math.max(host.buffer, 1), {
    pause: (isPaused) => {
      driver.run((_, now) => {
        replays.setPaused(now, session, key, isPaused);
      });
    },
    leave,
  });
  follows.set(key, items);
  try {
    const reply = await host.expect((_, now, replyKey) => {
      replays.begin(now, replyKey, key, session, speed, fromSeq);
    });
    const { fromSeq: from, toSeq } = expectReply(reply, "replay_started");
    // Where it stands before its first item; a replay has no epoch of its own.
    items.setJoined({ from: { epoch: "", seq: from - 1 } } as Joined);
    return new Replay(items, from, toSeq);
  } catch (error) {
    leave();
    throw error;
  }
}
