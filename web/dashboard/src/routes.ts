/** Where one is: the part of the address behind `#`. */
import { signal } from "@preact/signals";

export type Route = { view: "now" } | { view: "sessions" } | { view: "session"; id: string } | { view: "unknown" };

/** Reads the fragment of an address. */
export function readRoute(hash: string): Route {
  const path = hash.replace(/^#?\/?/, "").split("?")[0] ?? "";
  if (path === "" || path === "now") return { view: "now" };
  if (path === "sessions") return { view: "sessions" };
  const id = /^sessions\/([\w-]{1,64})$/.exec(path)?.[1];
  return id === undefined ? { view: "unknown" } : { view: "session", id: id.toLowerCase() };
}

/** The fragment of a session's page. */
export function sessionHref(id: string): string {
  return `#/sessions/${id}`;
}

/** Where one is now. */
export const route = signal<Route>({ view: "now" });

/** Keeps `route` at the address. */
export function followAddress(): void {
  const read = (): void => {
    route.value = readRoute(location.hash);
  };
  addEventListener("hashchange", read);
  read();
}
