/** The real server as a process of its own data folder and port: the binary that `AGENTBENCH_BIN` names. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { blake3 } from "@noble/hashes/blake3.js";
import { fileURLToPath } from "node:url";

/** How long a server may take to start or stop, ms: a guard against hangs. */
const PATIENCE = 30_000;

/** The binary under test. */
export function findBinary(): string {
  const root = fileURLToPath(new URL("../../../../", import.meta.url));
  const given = process.env.AGENTBENCH_BIN;
  const places = given === undefined ? [`${root}target/release/agentbench`, `${root}target/serve/agentbench`, `${root}target/debug/agentbench`] : [given];
  const found = places.find((place) => existsSync(place));
  if (found === undefined) throw new Error(`no server to test against (looked for ${places.join(", ")}): set AGENTBENCH_BIN`);
  return found;
}

export class RealServer {
  readonly directory = mkdtempSync(join(tmpdir(), "agentbench-dashboard-"));
  readonly #binary = findBinary();
  readonly #settings: Record<string, string>;
  #process: ChildProcess | null = null;
  port = 0;

  readonly #flags: readonly string[];

  private constructor(settings: Record<string, string>, flags: readonly string[]) {
    [this.#settings, this.#flags] = [settings, flags];
  }

  /** Starts one with settings (`STALL_AFTER` and the like) that differ from the defaults. */
  static async start(settings: Record<string, string> = {}, flags: readonly string[] = []): Promise<RealServer> {
    const server = new RealServer(settings, flags);
    await server.up();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it, on the port that it had before. */
  async up(): Promise<void> {
    const flags = ["serve", "--port", String(this.port), "--data-dir", this.directory, "--log-level", "error", ...this.#flags];
    const started = spawn(this.#binary, flags, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, ...this.#settings } });
    this.#process = started;
    const lines = createInterface({ input: started.stdout });
    const late = AbortSignal.timeout(PATIENCE);
    for (let port: string | undefined; port === undefined; ) {
      const [line] = (await once(lines, "line", { signal: late })) as [string];
      port = /^listening on ws:\/\/[^:]+:(\d+)/.exec(line)?.[1];
      if (port !== undefined) this.port = Number(port);
    }
    // What it says later has to go somewhere.
    started.stdout.resume();
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = null;
    if (running?.exitCode !== null) return;
    const ended = once(running, "exit", { signal: AbortSignal.timeout(PATIENCE) });
    running.kill("SIGKILL");
    await ended;
  }

  /** Empties the data folder of a server that does not run; tokens stay good. */
  empty(): void {
    for (const name of readdirSync(this.directory)) {
      if (name !== "development.secret") rmSync(join(this.directory, name), { recursive: true });
    }
  }

  /** Makes a token. */
  token(...options: string[]): string {
    return execFileSync(this.#binary, ["token", "mint", "--data-dir", this.directory, ...options], { encoding: "utf8" }).trim();
  }

  /** Runs `agentbench sessions …` with input; gives what it prints. This is the Rust client. */
  async sessions(args: string[], input = ""): Promise<string> {
    const flags = ["sessions", "--url", `ws://127.0.0.1:${this.port}`, "--data-dir", this.directory, ...args];
    const started = spawn(this.#binary, flags, { stdio: ["pipe", "pipe", "inherit"] });
    let printed = "";
    started.stdout.on("data", (part: Buffer) => {
      printed += part.toString();
    });
    // A program that takes no input may be gone before it is offered some.
    started.stdin.on("error", () => undefined);
    started.stdin.end(input);
    const [code] = (await once(started, "exit", { signal: AbortSignal.timeout(PATIENCE) })) as [number];
    if (code !== 0) throw new Error(`agentbench ${flags.join(" ")} ended with ${code}`);
    return printed.trim();
  }

  /** Ends it for good and removes its data. */
  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

let counter = 0;

/** Publishes events over HTTP, in pieces that the server takes. */
export async function publish(server: RealServer, token: string, session: string, events: Record<string, unknown>[], metadata?: Record<string, unknown>): Promise<void> {
  for (let at = 0; at < events.length; at += 1000) {
    const body = events.slice(at, at + 1000).map((data) => {
      counter += 1;
      return { id: `e-${counter}`, type: "test_event", timestamp: Date.now(), data, ...(metadata && { metadata }) };
    });
    for (let attempt = 0; ; attempt += 1) {
      const response = await fetch(`${server.url}/api/v1/sessions/${session}/events`, {
        method: "POST", headers: { Authorization: `Bearer ${token}` }, body: JSON.stringify(body),
      });
      const answer = (await response.json()) as { errors?: { retryable?: boolean }[] };
      if (response.status === 200) break;
      // The same again under the same ids: what is there already is not stored twice.
      if (attempt > 200) throw new Error(`publishing failed: ${response.status} ${JSON.stringify(answer).slice(0, 500)}`);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

/** The session's log as the server has it. */
export async function log(server: RealServer, token: string, session: string): Promise<{ seq: number; id: string; data: Record<string, unknown> }[]> {
  const response = await fetch(`${server.url}/api/v1/sessions/${session}/events`, { headers: { Authorization: `Bearer ${token}` } });
  const text = await response.text();
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as { seq: number; id: string; data: Record<string, unknown> });
}

/** Puts bytes into the store of evidence; gives their name there. */
export async function store(server: RealServer, token: string, session: string, bytes: Buffer, contentType: string): Promise<string> {
  const hash = Buffer.from(blake3(bytes)).toString("hex");
  const response = await fetch(`${server.url}/api/v1/evidence/${hash}?sessionId=${session}`, {
    method: "PUT", headers: { Authorization: `Bearer ${token}`, "Content-Type": contentType }, body: new Uint8Array(bytes),
  });
  if (response.status !== 201) throw new Error(`storing evidence failed: ${response.status} ${await response.text()}`);
  return hash;
}
