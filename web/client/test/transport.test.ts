/** The WebSockets of different platforms, played by a class: what each tells, and what becomes of it. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type TransportEvents, type TransportLink, type TransportRequest, type WebSocketLike, webSocketTransport } from "../src/transport.js";

type Handler = ((event: object) => void) | null;

/** A socket that does nothing by itself. */
class Played implements WebSocketLike {
  static last: Played;
  binaryType = "";
  bufferedAmount = 0;
  protocol = "agentbench.v1.json";
  onopen: Handler = null;
  onmessage: Handler = null;
  onclose: Handler = null;
  onerror: Handler = null;
  readonly closes: (number | undefined)[] = [];
  terminations = 0;

  constructor(readonly url: string, readonly protocols: string[]) {
    Played.last = this;
  }

  send(): void {
    throw new Error("nothing is sent here");
  }

  close(code?: number): void {
    this.closes.push(code);
  }
}

class WithTerminate extends Played {
  terminate(): void {
    this.terminations += 1;
  }
}

const REQUEST: TransportRequest = { url: "ws://h:1/ws", subprotocol: "agentbench.v1.json", token: "t.o.k", producerId: "p" };

function begin(request = REQUEST, Class: typeof Played = Played): { socket: Played; told: unknown[]; link: TransportLink } {
  const told: unknown[] = [];
  const events: TransportEvents = {
    opened: (protocol) => told.push(["opened", protocol]), received: (frame) => told.push(["received", frame]), heard: () => told.push(["heard"]),
    refused: (status) => told.push(["refused", status]), closed: (code, reason) => told.push(["closed", code, reason]),
  };
  const link = webSocketTransport(Class)(request, events);
  return { socket: Played.last, told, link };
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe("an attempt that fails", () => {
  test("is over with its error, also where no close event follows", () => {
    const { socket, told } = begin();
    socket.onerror?.({ message: "connect ECONNREFUSED" });
    expect(told).toEqual([["closed", null, "connect ECONNREFUSED"]]);
  });

  test("is told once where both events come", () => {
    const { socket, told } = begin();
    socket.onerror?.({});
    socket.onerror?.({});
    socket.onclose?.({ code: 1006, reason: "" });
    socket.onopen?.({});
    expect(told).toEqual([["closed", null, ""]]);
  });

  test("after it was given up tells nothing", () => {
    const { socket, told, link } = begin();
    link.close(1000);
    socket.onerror?.({ message: "gone" });
    socket.onclose?.({ code: 1006, reason: "" });
    expect(told).toEqual([]);
  });
});

describe("an open socket", () => {
  test("is not over with an error: the close that follows says why", () => {
    const { socket, told } = begin();
    socket.onopen?.({});
    socket.onerror?.({ message: "too large" });
    socket.onclose?.({ code: 1009, reason: "too big" });
    socket.onclose?.({ code: 1000, reason: "" });
    expect(told).toEqual([["opened", "agentbench.v1.json"], ["closed", 1009, "too big"]]);
  });

  // Deno tells 0, browsers and Node 1006.
  test.each([[0, null], [999, null], [1005, null], [1006, null], [1015, null], [1000, 1000], [1001, 1001], [1012, 1012], [3000, 3000], [4409, 4409]])("that closes with %d ended with %s", (code, expected) => {
    const { socket, told } = begin();
    socket.onopen?.({});
    socket.onclose?.({ code, reason: "r" });
    expect(told.at(-1)).toEqual(["closed", expected, "r"]);
  });

  test("whose server does not answer the close is ended where the platform can, and only then", () => {
    const answered = begin(REQUEST, WithTerminate);
    answered.link.close(1000);
    answered.socket.onclose?.({ code: 1000, reason: "" });
    const silent = begin(REQUEST, WithTerminate);
    silent.link.close(4000);
    const plain = begin();
    plain.link.close(1000);
    vi.runAllTimers();
    expect([answered.socket.closes, answered.socket.terminations]).toEqual([[1000], 0]);
    expect([silent.socket.closes, silent.socket.terminations]).toEqual([[4000], 1]);
    expect(plain.socket.closes).toEqual([1000]);
    expect([...answered.told, ...silent.told, ...plain.told]).toEqual([]);
  });
});

test("the address carries the producer's name in any script, and no fragment", () => {
  for (const producerId of ["plain", "größe", "日本のテスト", "a&b=c#d%20+\u{1F600}"]) {
    const { socket } = begin({ ...REQUEST, url: "WSS://H/bench/ws?x=1#part", producerId });
    const address = new URL(socket.url);
    expect(address.searchParams.get("producerId")).toBe(producerId);
    expect([address.protocol, address.pathname, address.searchParams.get("x"), address.hash]).toEqual(["wss:", "/bench/ws", "1", ""]);
    // ASCII only: what a request line may have.
    expect(socket.url).toMatch(/^[!-~]+$/);
  }
});

test("the address asks for strictness if that is wanted, and leaves the URL's own alone otherwise", () => {
  const asked = (url: string, strict?: boolean): string[] => new URL(begin({ ...REQUEST, url, strict }).socket.url).searchParams.getAll("strict");
  expect(asked("ws://h/ws")).toEqual([]);
  expect(asked("ws://h/ws", false)).toEqual([]);
  expect(asked("ws://h/ws", true)).toEqual(["1"]);
  expect(asked("ws://h/ws?strict=0", true)).toEqual(["1"]);
  expect(asked("ws://h/ws?strict=1")).toEqual(["1"]);
});
