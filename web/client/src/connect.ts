/** The two ways to a client. */
import { Client } from "./client.js";
import type { ClientEvent, ConnectOptions } from "./config.js";
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
  const patience = options.connectPatience ?? 0;
  let last = "no attempt has ended so far";
  let timer: ReturnType<typeof setTimeout> | undefined;
  let hear: (event: ClientEvent) => void = () => undefined;
  const onEvent = (event: ClientEvent): void => {
    hear(event);
    options.onEvent?.(event);
  };
  const opening = open({ ...options, onEvent });
  try {
    await new Promise<void>((resolve, reject) => {
      const giveUp = (): void => {
        reject(new ClientError("connect", `cannot connect to ${options.url}: ${last}`));
      };
      if (patience > 0 && Number.isFinite(patience)) timer = setTimeout(giveUp, patience);
      hear = (event) => {
        if (event.type === "connected") resolve();
        else if (event.type === "ended") reject(hasEnded(event.ended));
        else if (event.type === "disconnected") last = event.detail;
        else if (event.type === "reconnecting" && patience <= 0) giveUp();
      };
      opening.catch(reject);
    });
    return await opening;
  } catch (error) {
    await opening.then((client) => client.abandon(), () => undefined);
    throw error;
  } finally {
    clearTimeout(timer);
    hear = () => undefined;
  }
}
