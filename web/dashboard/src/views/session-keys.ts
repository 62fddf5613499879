/** The keys of the session's view. */
import type { SessionState } from "./session-state.js";

/** Rows that a page key moves by. */
const PAGE = 15;

/** Keys that a slider moves by. */
const OF_SLIDERS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "PageUp", "PageDown", "Home", "End"];

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.matches("input:not([type=range]), textarea, select") || target.isContentEditable);
}

/** What a key does; nothing for keys that are not ours. */
export function actionOf(key: string, state: SessionState, focusSearch: () => void): (() => void) | null {
  const isReplay = state.playing.value !== null;
  switch (key) {
    case "j":
    case "ArrowDown":
      return () => state.move(1);
    case "k":
    case "ArrowUp":
      return () => state.move(-1);
    case "PageDown":
      return () => state.move(PAGE);
    case "PageUp":
      return () => state.move(-PAGE);
    case "Home":
      return () => state.move(-Infinity);
    case "End":
      return () => state.move(Infinity);
    case "ArrowLeft":
      return isReplay ? () => state.step(-1) : null;
    case "ArrowRight":
      return isReplay ? () => state.step(1) : null;
    case "/":
      return focusSearch;
    case " ":
      return () => state.playPause();
    case "n":
      return () => state.nextError();
    case "e":
      return () => openEvidence(state);
    case "?":
      return () => { state.isHelpOpen.value = true; };
    case "Escape":
      return isReplay ? () => state.live() : null;
    default:
      return null;
  }
}

/** Opens the chosen entry's evidence, or the newest one up to it. */
function openEvidence(state: SessionState): void {
  const until = state.chosen.value ?? Infinity;
  const seqs = state.model.timeline.of("evidence");
  state.viewed.value = seqs.findLast((seq) => seq <= until) ?? seqs[0] ?? null;
}

/** Hears a key wherever it is pressed, except where somebody types or a button would take it. */
export function onKey(event: KeyboardEvent, state: SessionState, focusSearch: () => void): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const { target, key } = event;
  if (document.querySelector("dialog[open]")) return;
  if (isTyping(target)) {
    if (key === "Escape" && target instanceof HTMLElement) target.blur();
    return;
  }
  if (target instanceof HTMLElement && target.matches("input[type=range]") && OF_SLIDERS.includes(key)) return;
  const isOnButton = target instanceof HTMLElement && target.closest("button, a, summary, [role=tab]") !== null;
  if (isOnButton && [" ", "ArrowLeft", "ArrowRight", "Home", "End"].includes(key)) return;
  const action = actionOf(key, state, focusSearch);
  if (!action) return;
  event.preventDefault();
  action();
}
