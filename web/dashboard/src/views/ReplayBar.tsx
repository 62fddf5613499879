/** Where one is in the log, and the replay: play, pause, step, seek, speed. */
import { Mark } from "../parts/Badge.js";
import { whole } from "../text/format.js";
import { locale, t } from "../text/index.js";
import { SPEEDS } from "../replay/player.js";
import type { SessionState } from "./session-state.js";

/** Most marks of trouble that are drawn on the scrubber. */
const MARKS = 300;

function Ticks({ state }: { state: SessionState }) {
  const { timeline, changed } = state.model;
  void changed.value;
  const [all, head] = [timeline.trouble, Math.max(timeline.head - 1, 1)];
  const every = Math.max(Math.ceil(all.length / MARKS), 1);
  return (
    <svg class="ticks" viewBox="0 0 1000 6" preserveAspectRatio="none" aria-hidden="true">
      {all.filter((_seq, index) => index % every === 0).map((seq) => <rect key={seq} x={((seq - 1) / head) * 1000 - 1} y={0} width={2} height={6} />)}
    </svg>
  );
}

function Scrubber({ state }: { state: SessionState }) {
  const head = Math.max(state.model.timeline.head, 1);
  void state.model.changed.value;
  const seq = state.playing.value?.seq ?? state.chosen.value ?? head;
  const said = t("timeline.scrubber.value", { seq: whole(seq, locale.value), total: whole(head, locale.value) });
  const go = (to: number): void => (state.playing.value ? state.seek(to) : state.goTo(to));
  return (
    <div class="scrubber">
      <Ticks state={state} />
      <input
        type="range" min={1} max={head} step={1} value={seq} aria-label={t("timeline.scrubber")} aria-valuetext={said}
        onInput={(event) => go(Number(event.currentTarget.value))}
      />
    </div>
  );
}

function Buttons({ state }: { state: SessionState }) {
  const playing = state.playing.value;
  if (!playing) {
    return <button type="button" class="button" onClick={() => state.playPause()}><Mark shape="play" />{t("replay.start")}</button>;
  }
  const server = state.serverReplay.value;
  return (
    <span class="buttons">
      <strong class="badge tone-busy">{server ? t("replay.server.playing", { speed: server.speed }) : t("replay.banner")}</strong>
      <button type="button" class="button icon" aria-label={t("replay.back")} title={t("replay.back")} onClick={() => state.step(-1)}><span aria-hidden="true">‹</span></button>
      <button type="button" class="button primary" onClick={() => state.playPause()}>
        <Mark shape={playing.isPlaying ? "pause" : "play"} />{playing.isPlaying ? t("replay.pause") : t("replay.play")}
      </button>
      <button type="button" class="button icon" aria-label={t("replay.forward")} title={t("replay.forward")} onClick={() => state.step(1)}><span aria-hidden="true">›</span></button>
      <select aria-label={t("replay.speed")} value={playing.speed} onChange={(event) => state.setSpeed(Number(event.currentTarget.value))}>
        {SPEEDS.map((speed) => <option key={speed} value={speed}>{speed}×</option>)}
      </select>
      <button type="button" class="button" onClick={() => state.nextError()}>{t("replay.nextError")}</button>
      {state.model.actions && <button type="button" class="button" onClick={() => state.playOnServer()}>{t("replay.server")}</button>}
      <button type="button" class="button" onClick={() => state.live()}>{state.model.actions ? t("replay.live") : t("replay.end")}</button>
    </span>
  );
}

export function ReplayBar({ state }: { state: SessionState }) {
  const { timeline, changed } = state.model;
  void changed.value;
  return (
    <section class="replay" aria-label={t("replay.label")}>
      <Buttons state={state} />
      <Scrubber state={state} />
      <span class="number small muted place">{whole(state.playing.value?.seq ?? state.chosen.value ?? timeline.head, locale.value)} / {whole(timeline.head, locale.value)}</span>
    </section>
  );
}
