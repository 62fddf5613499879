/** The two ways to a client. */
import { Client } from "./client.js";
import type { ConnectOptions } from "./config.js";
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
  const client = await open(options);
  const patience = options.connectPatience ?? 0;
  let last = "no attempt has ended so far";
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stop: () => void = () => undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const giveUp = (): void => {
        reject(new ClientError("connect", `cannot connect to ${options.url}: ${last}`));
      };
      stop = client.onEvent((event) => {
        if (event.type === "connected") resolve();
        else if (event.type === "ended") reject(hasEnded(event.ended));
        else if (event.type === "disconnected") last = event.detail;
        else if (event.type === "reconnecting" && patience <= 0) giveUp();
      });
      if (patience > 0 && Number.isFinite(patience)) timer = setTimeout(giveUp, patience);
    });
  } catch (error) {
    await client.abandon();
    throw error;
  } finally {
    clearTimeout(timer);
    stop();
  }
  return client;
}
