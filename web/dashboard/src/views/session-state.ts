/** What a reader of one session looks at: the chosen entry, filters, the replay. Components draw it, keys change it. */
import { type ReadonlySignal, batch, computed, signal } from "@preact/signals";
import { type Failure, asFailure } from "../api/failure.js";
import type { SessionModel } from "../live/model.js";
import { type Playing, Player } from "../replay/player.js";
import type { Kind } from "../timeline/entry.js";
import { Filtered, type Rows, allRows, listRows } from "../timeline/rows.js";

export const TABS = ["timeline", "details", "steps", "evidence", "scores", "people"] as const;
export type Tab = (typeof TABS)[number];

/** The server plays: how fast, and how to stop listening. */
interface ServerReplay {
  speed: number;
  stop: () => void;
}

export class SessionState {
  readonly model: SessionModel;
  /** The chosen entry's seq; a gap's first. */
  readonly chosen = signal<number | null>(null);
  /** Grows when the chosen entry is to be brought into sight. */
  readonly revealed = signal(0);
  /** The newest entry stays in sight. */
  readonly sticks = signal(true);
  readonly kinds = signal<ReadonlySet<Kind>>(new Set());
  readonly text = signal("");
  readonly tab = signal<Tab>("timeline");
  /** The replay; `null` while live. */
  readonly playing = signal<Playing | null>(null);
  readonly serverReplay = signal<ServerReplay | null>(null);
  /** The seq of the evidence that is seen whole. */
  readonly viewed = signal<number | null>(null);
  readonly isHelpOpen = signal(false);
  readonly said = signal("");
  readonly problem = signal<Failure | null>(null);
  /** The last seq that is shown: the replay's, or all. */
  readonly upTo: ReadonlySignal<number>;
  readonly rows: ReadonlySignal<Rows>;
  readonly #filtered: ReadonlySignal<Filtered | null>;
  #player: Player | null = null;

  constructor(model: SessionModel) {
    this.model = model;
    const { timeline, changed } = model;
    // What is shown whole stays, wherever the reader scrolls.
    this.chosen.subscribe((seq) => timeline.hold(seq));
    this.upTo = computed(() => this.playing.value?.seq ?? (changed.value, timeline.head));
    this.#filtered = computed(() => {
      const filter = { kinds: this.kinds.value, text: this.text.value };
      return filter.kinds.size === 0 && filter.text.trim() === "" ? null : new Filtered(timeline, filter);
    });
    this.rows = computed(() => {
      void changed.value;
      const filtered = this.#filtered.value;
      return filtered ? listRows(filtered.read(), this.upTo.value) : allRows(this.upTo.value, timeline.gaps);
    });
  }

  /** Chooses an entry and brings it into sight. */
  choose(seq: number, bringIntoSight = true): void {
    batch(() => {
      this.chosen.value = seq;
      if (bringIntoSight) {
        this.sticks.value = false;
        this.revealed.value += 1;
        this.model.want(seq - 50, seq + 50);
      }
    });
  }

  /** Whether a row is the chosen entry's, or the gap's that it is in. A filter may hide the chosen entry: then no row is. */
  isInRow(row: number): boolean {
    const seq = this.chosen.value;
    if (seq === null || row < 0) return false;
    const shown = this.rows.value.seqAt(row);
    return shown === seq || this.model.timeline.gapAt(seq)?.from === shown;
  }

  /** Chooses an entry that a filter may hide: the filter then goes. */
  goTo(seq: number): void {
    const { rows } = this;
    if (rows.value.seqAt(rows.value.rowOf(seq)) !== seq) {
      this.kinds.value = new Set();
      this.text.value = "";
    }
    if (this.playing.value && seq > this.playing.value.seq) this.seek(seq);
    this.choose(seq);
  }

  /** Moves the choice by rows; to the ends with infinite numbers. */
  move(by: number): void {
    const rows = this.rows.value;
    if (rows.count === 0) return;
    const now = this.chosen.value === null ? (by > 0 ? -1 : rows.count) : rows.rowOf(this.chosen.value);
    const row = Math.min(Math.max(now + by, 0), rows.count - 1);
    this.choose(rows.seqAt(row));
    if (by === Infinity && !this.playing.value) this.sticks.value = true;
  }

  toggleKind(kind: Kind): void {
    const kinds = new Set(this.kinds.value);
    if (!kinds.delete(kind)) kinds.add(kind);
    this.kinds.value = kinds;
  }

  /** The next entry that tells of something that went wrong; from the chosen or the played one. */
  nextError(): void {
    const from = this.playing.value?.seq ?? this.chosen.value ?? 0;
    const next = this.model.timeline.nextTrouble(from);
    this.said.value = next === null ? "replay.noError" : "";
    if (next === null) return;
    if (this.#player) this.seek(next);
    else this.goTo(next);
  }

  /** Begins a replay, standing at a seq: the chosen one, or the start. */
  startReplay(at = this.chosen.value ?? 1): void {
    const { timeline } = this.model;
    const recording = {
      get head() {
        return timeline.head;
      },
      timeAt: (seq: number) => timeline.get(seq)?.at ?? (timeline.gapAt(seq) ? null : undefined),
    };
    this.#player = new Player(recording, () => performance.now(), at >= timeline.head ? 1 : at);
    this.#show();
  }

  /** Plays or pauses; begins a replay if there is none. */
  playPause(): void {
    this.stopServer();
    if (!this.#player) this.startReplay();
    const player = this.#player;
    if (player?.state.isPlaying) player.pause();
    else player?.play();
    this.#show();
  }

  seek(seq: number): void {
    this.stopServer();
    this.#player?.seek(seq);
    this.#show();
  }

  step(by: number): void {
    if (!this.#player) this.startReplay();
    this.stopServer();
    this.#player?.step(by);
    this.#show();
  }

  setSpeed(speed: number): void {
    this.#player?.setSpeed(speed);
    this.#show();
  }

  /** To be called each frame while something plays. */
  tick(): void {
    const player = this.#player;
    if (!player || this.serverReplay.value) return;
    const hasChanged = player.tick();
    const { wants } = player.state;
    if (wants !== null) this.model.want(wants, wants + 200);
    if (hasChanged) this.#show();
  }

  /** Back to live: everything is shown again, and the newest stays in sight. */
  live(): void {
    this.stopServer();
    this.#player = null;
    batch(() => {
      this.playing.value = null;
      this.chosen.value = null;
      this.sticks.value = true;
    });
  }

  /** Lets the server play, by the protocol's own replay. */
  async playOnServer(): Promise<void> {
    const { actions } = this.model;
    if (!actions) return;
    if (!this.#player) this.startReplay();
    this.#player?.pause();
    const { seq = 1, speed = 1 } = this.#player?.state ?? {};
    this.stopServer();
    try {
      const player = this.#player;
      const played = { isOver: false };
      const stop = await actions.serverReplay(speed, Math.min(seq + 1, this.model.timeline.head), (told) => {
        // The reader has left this replay.
        if (played.isOver || this.#player !== player) return;
        if (told !== "end" && "seq" in told) {
          player?.seek(told.seq);
          this.#show();
          return;
        }
        played.isOver = true;
        if (told !== "end") this.problem.value = told.failure;
        this.stopServer();
      });
      if (!played.isOver) this.serverReplay.value = { speed, stop };
    } catch (error) {
      this.problem.value = asFailure(error);
    }
  }

  stopServer(): void {
    this.serverReplay.value?.stop();
    this.serverReplay.value = null;
  }

  #show(): void {
    const playing = this.#player?.state ?? null;
    batch(() => {
      this.playing.value = playing;
      if (!playing) return;
      this.chosen.value = playing.seq;
      this.sticks.value = false;
      this.revealed.value += 1;
    });
    if (playing) this.model.want(playing.seq - 50, playing.seq + 100);
  }
}
