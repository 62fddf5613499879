/** Plays a log at its own pace times a factor. Pure: the time comes from outside, and `tick` has to be called now and then. */

/** Slowest and fastest, and the steps between. */
export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 64] as const;

/** What is played. */
export interface Recording {
  /** The last seq. */
  readonly head: number;
  /** When an entry happened, ms; `undefined` if it is not loaded; `null` if it is in a gap, and so passed over. */
  timeAt(seq: number): number | null | undefined;
}

/** Where a player stands. */
export interface Playing {
  /** The last seq that has been played. */
  seq: number;
  isPlaying: boolean;
  speed: number;
  /** The next entry has to be loaded first: this one. */
  wants: number | null;
}

export class Player {
  readonly #recording: Recording;
  readonly #clock: () => number;
  #seq: number;
  #speed = 1;
  #isPlaying = false;
  #wants: number | null = null;
  /** The log's time now, ms, and the clock's when it was that. */
  #logTime = 0;
  #since = 0;

  /** Stands at `seq`, paused. `clock` is in ms, and never goes back. */
  constructor(recording: Recording, clock: () => number, seq: number) {
    this.#recording = recording;
    this.#clock = clock;
    this.#seq = this.#within(seq);
    this.#setTime();
  }

  get state(): Playing {
    return { seq: this.#seq, isPlaying: this.#isPlaying, speed: this.#speed, wants: this.#wants };
  }

  /** Goes on from where it stands; from the start if it stands at the end. */
  play(): void {
    if (this.#isPlaying) return;
    if (this.#seq >= this.#recording.head) this.#seq = Math.min(1, this.#recording.head);
    this.#isPlaying = true;
    this.#setTime();
  }

  pause(): void {
    if (this.#isPlaying) this.tick();
    this.#isPlaying = false;
    this.#wants = null;
  }

  /** Changes the factor without a jump. */
  setSpeed(speed: number): void {
    if (this.#isPlaying) this.tick();
    this.#logTime = this.#now();
    this.#since = this.#clock();
    this.#speed = Math.min(Math.max(speed, SPEEDS[0]), SPEEDS[SPEEDS.length - 1] ?? 64);
  }

  /** Stands behind this entry. */
  seek(seq: number): void {
    this.#seq = this.#within(seq);
    this.#setTime();
  }

  /** Moves by entries, and pauses. */
  step(by: number): void {
    this.pause();
    this.seek(this.#seq + by);
  }

  /** Takes what is due. `true` if anything has changed. */
  tick(): boolean {
    if (!this.#isPlaying) return false;
    const before = this.#seq;
    const wanted = this.#wants;
    const due = this.#now();
    while (this.#seq < this.#recording.head) {
      const next = this.#recording.timeAt(this.#seq + 1);
      if (next === undefined) {
        // The log's time stands still until the entry is here.
        this.#wants = this.#seq + 1;
        this.#setTime();
        return before !== this.#seq || wanted !== this.#wants;
      }
      if (next !== null && next > due) break;
      this.#seq += 1;
    }
    if (this.#wants !== null) {
      this.#wants = null;
    }
    if (this.#seq >= this.#recording.head) this.#isPlaying = false;
    return before !== this.#seq || !this.#isPlaying || wanted !== this.#wants;
  }

  #now(): number {
    return this.#isPlaying ? this.#logTime + (this.#clock() - this.#since) * this.#speed : this.#logTime;
  }

  #within(seq: number): number {
    return Math.min(Math.max(Math.round(seq), Math.min(1, this.#recording.head)), this.#recording.head);
  }

  /** Sets the log's time to that of the entry where it stands. */
  #setTime(): void {
    for (let seq = this.#seq; seq > Math.max(this.#seq - 100, 0); seq -= 1) {
      const at = this.#recording.timeAt(seq);
      if (at === undefined || at === null) continue;
      this.#logTime = at;
      break;
    }
    this.#since = this.#clock();
  }
}
