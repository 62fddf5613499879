/** The real server as a process: `AGENTBENCH_BINARY`, or what cargo has built. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** How long a server may take to start or stop, ms: a guard against hangs. */
const PATIENCE = 30_000;

function findBinary(): string {
  const root = fileURLToPath(new URL("../../../../", import.meta.url));
  const given = process.env.AGENTBENCH_BINARY;
  const places = given === undefined ? [`${root}target/release/agentbench`, `${root}target/serve/agentbench`, `${root}target/debug/agentbench`] : [given];
  const found = places.find((place) => existsSync(place));
  if (found === undefined) {
    throw new Error(`no server to test against (looked for ${places.join(", ")}): run "cargo build --release" at the repository's root, or set AGENTBENCH_BINARY`);
  }
  return found;
}

export class RealServer {
  readonly directory = mkdtempSync(join(tmpdir(), "agentbench-sdk-"));
  private readonly binary = findBinary();
  private readonly settings: string[];
  private process: ChildProcess | null = null;
  private port = 0;

  private constructor(settings: string[]) {
    this.settings = settings;
  }

  /** Starts a server of its own data folder. `settings` are flags of `agentbench serve`. */
  static async start(...settings: string[]): Promise<RealServer> {
    const server = new RealServer(settings);
    await server.up();
    return server;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** Starts it, on the port that it had before. */
  async up(): Promise<void> {
    const flags = ["serve", "--port", String(this.port), "--data-dir", this.directory, "--log-level", "error", ...this.settings];
    const started = spawn(this.binary, flags, { stdio: ["ignore", "pipe", "inherit"] });
    this.process = started;
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

  /** Ends it: with `SIGKILL` as a crash does, with `SIGTERM` in good order. */
  async down(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const running = this.process;
    this.process = null;
    if (running?.exitCode !== null) return;
    const ended = once(running, "exit", { signal: AbortSignal.timeout(PATIENCE) });
    running.kill(signal);
    await ended;
  }

  /** Makes a token. */
  token(...options: string[]): string {
    const all = ["token", "mint", "--data-dir", this.directory, ...options];
    return execFileSync(this.binary, all, { encoding: "utf8" }).trim();
  }

  /** Ends it for good and removes its data. */
  async remove(): Promise<void> {
    await this.down("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }
}
