/** The two ways to a client. */
import { Client } from "./client.js";
import type { ClientEvent, ConnectOptions } from "./config.js";
import { LONGEST_TIMER } from "./machine/settings.js";
import { ClientError, hasEnded } from "./outcome.js";

/**
 * Makes a client without waiting for its first connection: what is published meanwhile waits in the outbox. Rejects with
 * `invalid` or `store`.
 */
export function open(options: ConnectOptions): Promise<Client> {
  return Client.open(options);
}

/**
 * Connects. From then on the client stays connected by itself. Rejects with `invalid` for options that make no sense,
 * `ended` if the server turns the client away for good, `connect` if there is no connection within `connectPatience`, and
 * `store` if the durable outbox cannot be opened.
 */
export async function connect(options: ConnectOptions): Promise<Client> {
  const { connectPatience = 0, url } = options;
  let last = "no answer so far";
  let decide: (error?: ClientError) => void = () => undefined;
  const decided = new Promise<ClientError | undefined>((resolve) => {
    decide = resolve;
  });
  const giveUp = (): void => decide(new ClientError("connect", `cannot connect to ${url}: ${last}`));
  const onEvent = (event: ClientEvent): void => {
    if (event.type === "connected") decide();
    else if (event.type === "ended") decide(hasEnded(event.ended));
    else if (event.type === "disconnected") last = event.detail;
    else if (event.type === "reconnecting" && connectPatience <= 0) giveUp();
    options.onEvent?.(event);
  };
  const client = await open({ ...options, onEvent });
  const timer = connectPatience > 0 ? setTimeout(giveUp, Math.min(connectPatience, LONGEST_TIMER)) : undefined;
  const error = await decided;
  clearTimeout(timer);
  if (!error) return client;
  await client.abandon();
  throw error;
}
