// What stands in for storing where a peer has no log: the last messages of the room, in memory, gone with the process.

const KEPT = 65_536; // as many as AgentBench's dedupe window; enough that a copy is really kept, without growing for ever

/** The newest messages, oldest overwritten first. */
export class Recent {
  #messages = new Array(KEPT);
  #next = 0;

  /** Keeps a message and returns its number in the room, from 1. */
  keep(message) {
    this.#messages[this.#next % KEPT] = message;
    this.#next += 1;
    return this.#next;
  }
}
