/**
 * Where the server is: beside the page. Every address is relative to the page's own, so that the pages also work below a path
 * of a proxy (`https://host/bench/`).
 */

/** The address of one of the server's resources, named without a slash at its start, for a page at `page`. */
export function addressOf(path: string, page: string = location.href): string {
  return new URL(path, page.replace(/[?#].*$/s, "")).href;
}

/** The address of the server's WebSockets. */
export function socketAddress(page: string = location.href): string {
  return addressOf("ws", page).replace(/^http/, "ws");
}
