/** Reads a stream of Server-Sent Events (HTML standard, §9.2) from its text, piece by piece. */

/** Longest event that is taken, in characters. */
const MAX_EVENT = 64 * 1024 * 1024;

/** One stream. */
export class SseReader {
  #rest = "";
  #data: string[] = [];
  #name = "";
  readonly #event: (data: string, name: string) => void;

  /** `event` is given the data of each event, and its name: `message` if it has none. */
  constructor(event: (data: string, name: string) => void) {
    this.#event = event;
  }

  /** Takes the next piece of text. Throws if an event is too large. */
  push(text: string): void {
    const all = this.#rest + text;
    // A carriage return at the end may be half of a line's end.
    const isHalf = all.endsWith("\r");
    const lines = (isHalf ? all.slice(0, -1) : all).split(/\r\n|\n|\r/);
    this.#rest = (lines.pop() ?? "") + (isHalf ? "\r" : "");
    if (this.#rest.length > MAX_EVENT) throw new Error("the stream has an event that is too large");
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    if (line === "") {
      const data = this.#data.splice(0).join("\n");
      const name = this.#name || "message";
      this.#name = "";
      if (data || name !== "message") this.#event(data, name);
    } else if (/^event(:|$)/.test(line)) {
      this.#name = line.slice(6).replace(/^ /, "");
    } else if (/^data(:|$)/.test(line)) {
      this.#data.push(line.slice(5).replace(/^ /, ""));
    }
    // Comments only keep the stream alive. The place is in the messages, so ids are not needed.
  }
}
