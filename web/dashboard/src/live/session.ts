/** A session of the server: its tail at once, then live by the SDK's follow, older ranges when they are looked at. */
import type { Client, Follow, Item } from "@agentbench/client";
import type { Account } from "../api/account.js";
import { may } from "../api/claims.js";
import { Failure, asFailure } from "../api/failure.js";
import type { LogPart, SessionInfo } from "../api/types.js";
import { fromItem } from "../timeline/entry.js";
import { MOST } from "../timeline/store.js";
import { client as signedInClient } from "./connection.js";
import { EvidenceShelf } from "./evidence.js";
import { CHUNK, CHUNK_BYTES, Loader, take } from "./loader.js";
import { type Actions, type Control, type Published, type SessionModel, afterLifecycle, parts } from "./model.js";

/** A log up to this length is loaded whole without being asked. */
const SMALL = 4000;
/** Waits between attempts to follow, ms. */
const PATIENCE = 2000;

/** Opens a session: resolves as soon as its tail is here. `again` is called if the log is not the one that is shown. */
export async function openSession(id: string, account: Account, again: () => void): Promise<SessionModel> {
  const { api } = account;
  const info = await api.session(id);
  const { timeline, beat, participants, failure, info: shown } = parts(info);
  const shelf = new EvidenceShelf((hash) => api.evidence(hash, id), (hash) => api.hasEvidence(hash, id));
  const head = info.headSeq;
  if (head > 0) {
    const tail = await api.events(id, Math.max(head - CHUNK + 1, 1), head, CHUNK_BYTES);
    take(timeline, tail.messages);
    // The newest is where the follow begins; those between come when they are looked at.
    if (!tail.isWhole) take(timeline, (await api.events(id, head, head)).messages);
  }
  const changed = (): void => {
    timeline.settle();
    beat.tell();
  };
  // Ranges come by seq alone. Only if the log is the same afterwards is what came a part of it.
  const read = async (from: number, to: number): Promise<LogPart> => {
    const part = await api.events(id, from, to, CHUNK_BYTES);
    if ((await api.session(id)).epoch === info.epoch) return part;
    if (!isGone()) again();
    throw new Failure("other", "another history");
  };
  const loader = new Loader(timeline, read, changed, (error) => {
    failure.value = asFailure(error);
  });
  const life = { isClosed: false };
  let follow: Follow | null = null;

  const told = (item: Item): void => {
    switch (item.type) {
      case "event":
      case "lifecycle":
      case "late": {
        const entry = fromItem(item, item.type === "lifecycle");
        timeline.add(entry);
        if (item.type === "lifecycle") shown.value = afterLifecycle(shown.value, entry);
        break;
      }
      case "gap":
        timeline.addGap(item);
        break;
      case "violation":
        timeline.addGap({ from: item.expected, to: item.got - 1, cause: "missing", history: true });
        break;
      case "presence":
        participants.value = item.presence.participants;
        break;
      case "resumed":
        timeline.reach(item.headSeq);
        failure.value = null;
        break;
      case "notRecovered":
        // Trimmed is said by a gap; anything else means that what is shown is not this log.
        if (item.reason !== "trimmed") again();
        break;
      case "disconnected":
        break;
    }
    changed();
  };

  const stayWith = async (): Promise<void> => {
    const from = { epoch: info.epoch, seq: head, ...lastIdOf(timeline.get(head)?.id) };
    while (!isGone()) {
      try {
        const client = await signedInClient.value;
        if (!client || isGone()) return;
        const place = follow?.position ?? from;
        const followed: Follow = await client.follow(id, place, { stay: true });
        if (isGone()) {
          followed.close();
          return;
        }
        follow = followed;
        participants.value = followed.joined.session.participants ?? participants.value;
        shown.value = { ...shown.value, ...followed.joined.session };
        timeline.reach(followed.joined.headSeq);
        if (!followed.joined.recovered && followed.joined.reason !== "trimmed") {
          again();
          return;
        }
        failure.value = null;
        await followed.forEach(told);
        return;
      } catch (error) {
        const client = await signedInClient.value;
        if (isGone() || client === null || client.state === "ended") return;
        failure.value = asFailure(error);
        if (["forbidden", "session_not_found"].includes(failure.value.code)) return;
        await new Promise((resolve) => setTimeout(resolve, PATIENCE));
      }
    }
  };
  // Asked by a function, since it changes while others wait.
  function isGone(): boolean {
    return life.isClosed;
  }

  void stayWith();
  if (head <= SMALL) void loader.all(() => !isGone()).catch(() => undefined);

  return {
    info: shown, timeline, changed: beat.signal, participants, failure, shelf, exportedAt: null,
    actions: actionsOf(id, account, info),
    want: (from, to) => loader.want(from, to),
    loadAll: async (goOn) => {
      // Who asks for all of it gets all that a page can hold; what arrives later pushes out what is far away again.
      timeline.keep(MOST);
      try {
        await loader.all(goOn);
      } finally {
        timeline.keep({ entries: timeline.size, bytes: timeline.bytes });
      }
    },
    close: () => {
      life.isClosed = true;
      loader.close();
      shelf.close();
      follow?.close();
    },
  };
}

function lastIdOf(id: string | undefined): { lastId?: string } {
  return id === undefined || id === "" ? {} : { lastId: id };
}

async function connected(): Promise<Client> {
  const client = await signedInClient.value;
  if (!client) throw new Error("nobody is signed in");
  return client;
}

function actionsOf(id: string, { claims, api }: Account, info: SessionInfo): Actions {
  return {
    mayControl: may(claims, "session:control", info.projectId),
    mayReview: may(claims, "session:review", info.projectId),
    async control(what: Control) {
      const client = await connected();
      await client[what](id);
    },
    async publish(data): Promise<Published> {
      const outcome = await (await connected()).publish(id, data);
      if (outcome.status === "stored") return { is: "stored" };
      if (outcome.status === "refused") return { is: "refused", failure: new Failure(outcome.refusal.code, outcome.refusal.error) };
      return { is: "unknown" };
    },
    export: (format) => api.export(id, format),
    async serverReplay(speed, fromSeq, told) {
      const replay = await (await connected()).replaySession(id, { speed, fromSeq });
      const play = async (): Promise<void> => {
        for await (const item of replay) told({ seq: item.type === "gap" ? item.to : item.seq });
        told("end");
      };
      play().catch((error: unknown) => told({ failure: asFailure(error) }));
      return () => replay.close();
    },
  };
}
