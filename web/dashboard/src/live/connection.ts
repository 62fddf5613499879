/** The one connection of the page, for as long as somebody is signed in. */
import { type Client, type ClientEvent, type Ended, describeEnd, open } from "@agentbench/client";
import { effect, signal } from "@preact/signals";
import { socketAddress } from "../address.js";
import { account, tokenIsOver } from "../api/account.js";

/** How the connection is. */
export type Link = { is: "connecting" } | { is: "connected" } | { is: "lost" } | { is: "ended"; why: string };

/** How the connection is now. */
export const link = signal<Link>({ is: "connecting" });
/** This page's own connection, as the server names it. */
export const ownClientId = signal<string | null>(null);
/** The connection of who is signed in. */
export const client = signal<Promise<Client> | null>(null);

function hear(event: ClientEvent): void {
  switch (event.type) {
    case "connected":
      ownClientId.value = event.clientId;
      link.value = { is: "connected" };
      return;
    case "disconnected":
    case "reconnecting":
      if (link.value.is !== "ended") link.value = { is: "lost" };
      return;
    case "ended":
      return over(event.ended);
    case "serverError":
    case "recovered":
      return;
  }
}

function over(ended: Ended): void {
  if (ended.kind === "closed") return;
  link.value = { is: "ended", why: describeEnd(ended) };
  // Without a new token there is no way on; with one, everything is as before.
  if (ended.kind === "token" || (ended.kind === "dismissed" && (ended.code === 4401 || ended.code === 1008))) tokenIsOver(describeEnd(ended));
}

/** Keeps a connection while somebody is signed in. */
export function stayConnected(): void {
  effect(() => {
    const token = account.value?.token;
    if (token === undefined) return undefined;
    link.value = { is: "connecting" };
    const opened = open({ url: socketAddress(), token, onEvent: hear, heartbeatInterval: 10_000, backoff: { base: 200, max: 5000 } });
    client.value = opened;
    const online = (): void => {
      if (link.value.is !== "ended") link.value = { is: "connecting" };
    };
    addEventListener("online", online);
    return () => {
      removeEventListener("online", online);
      client.value = null;
      void opened.then((one) => one.close());
    };
  });
}
