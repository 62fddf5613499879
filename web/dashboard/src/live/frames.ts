/** Puts many small changes together: at most one redraw for each frame that the browser shows. */
import { type Signal, signal } from "@preact/signals";

/** A number that grows at most once a frame, however often it is told to. */
export class Beat {
  readonly signal: Signal<number> = signal(0);
  #isDue = false;

  /** Something has changed. */
  tell(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    const go = (): void => {
      if (!this.#isDue) return;
      this.#isDue = false;
      this.signal.value += 1;
    };
    // A page in the background gets no frames, and still has to be right when it is looked at.
    requestAnimationFrame(go);
    setTimeout(go, 250);
  }
}
