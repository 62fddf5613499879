/** One session: what it is, its time line, and what the events say together. The same for live sessions and exported files. */
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { SessionModel } from "../live/model.js";
import { FailureBox } from "../parts/Bits.js";
import { type TextKey, language, t } from "../text/index.js";
import { oneLine } from "../text/format.js";
import { EvidenceViewer } from "./EvidenceViewer.js";
import { KeysHelp } from "./KeysHelp.js";
import { Details } from "./panels/Details.js";
import { EvidencePanel } from "./panels/EvidencePanel.js";
import { People } from "./panels/People.js";
import { ScoresPanel } from "./panels/ScoresPanel.js";
import { Steps } from "./panels/Steps.js";
import { ReplayBar } from "./ReplayBar.js";
import { back, leave } from "./places.js";
import { SessionHead } from "./SessionHead.js";
import { onKey } from "./session-keys.js";
import { SessionState, TABS, type Tab } from "./session-state.js";
import { TimelinePanel } from "./TimelinePanel.js";

function Panel({ state, tab }: { state: SessionState; tab: Tab }) {
  switch (tab) {
    case "steps":
      return <Steps state={state} />;
    case "evidence":
      return <EvidencePanel state={state} />;
    case "scores":
      return <ScoresPanel state={state} />;
    case "people":
      return <People state={state} />;
    case "timeline":
    case "details":
      return <Details state={state} />;
  }
}

/** Below this width, the time line is one of the tabs; the style sheet has the same. */
const narrow = matchMedia("(max-width: 960px)");
const isNarrow = signal(narrow.matches);
narrow.addEventListener("change", () => { isNarrow.value = narrow.matches; });
/** The tabs beside a time line that is always seen. */
const WIDE_TABS: readonly Tab[] = TABS.filter((tab) => tab !== "timeline");

/** The tab that is marked: where the time line has none, its panel is that of the details. */
function tabShown(tab: Tab): Tab {
  return tab === "timeline" && !isNarrow.value ? "details" : tab;
}

function Tabs({ state }: { state: SessionState }) {
  const now = tabShown(state.tab.value);
  const tabs: readonly Tab[] = isNarrow.value ? TABS : WIDE_TABS;
  const { timeline, participants } = state.model;
  void state.model.changed.value;
  const counts: Partial<Record<Tab, number>> = {
    evidence: timeline.of("evidence").length, scores: timeline.of("score").length + timeline.of("note").length, people: participants.value.length,
  };
  const move = (event: KeyboardEvent): void => {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (by === 0) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(now) + by + tabs.length) % tabs.length];
    if (next) state.tab.value = next;
    document.getElementById(`tab-${next ?? ""}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={t("tabs.label")} onKeyDown={move}>
      {tabs.map((tab) => (
        <button
          key={tab} id={`tab-${tab}`} type="button" role="tab" class={`tab tab-${tab}`} aria-selected={tab === now} aria-controls="panel" tabIndex={tab === now ? 0 : -1}
          onClick={() => { state.tab.value = tab; }}
        >
          {t(`tab.${tab}`)}{(counts[tab] ?? 0) > 0 && <span class="count number">{counts[tab]}</span>}
        </button>
      ))}
    </div>
  );
}

export function SessionView({ model, note = null }: { model: SessionModel; note?: ComponentChildren }) {
  const state = useMemo(() => back(new SessionState(model)), [model]);
  const search = useRef<HTMLInputElement>(null);
  const isPlaying = state.playing.value?.isPlaying === true;

  // Before the view is seen: a key that is pressed at once counts.
  useLayoutEffect(() => {
    const hear = (event: KeyboardEvent): void => onKey(event, state, () => search.current?.focus());
    addEventListener("keydown", hear);
    return () => {
      removeEventListener("keydown", hear);
      state.stopServer();
      leave(state);
    };
  }, [state]);

  useEffect(() => {
    if (!isPlaying) return undefined;
    let frame = 0;
    const tick = (): void => {
      state.tick();
      frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [state, isPlaying]);

  const { agentName, testId } = model.info.value;
  useEffect(() => {
    document.title = `${oneLine(agentName, 60)} · ${oneLine(testId, 60)} · ${t("app.name")}`;
  }, [agentName, testId, language.value]);

  const tab = state.tab.value;
  return (
    <div class={`session tab-is-${tab}`} data-upto={state.upTo.value}>
      <SessionHead state={state} />
      <div class="session-notes">
        {note}
        {model.failure.value && <FailureBox failure={model.failure.value} />}
        {state.problem.value && <FailureBox failure={state.problem.value} close={() => { state.problem.value = null; }} />}
        <p class={state.said.value === "" ? "sr" : "box"} role="status">{state.said.value === "" ? "" : t(state.said.value as TextKey)}</p>
      </div>
      <ReplayBar state={state} />
      <Tabs state={state} />
      <TimelinePanel state={state} search={search} />
      <section class="side" id="panel" role="tabpanel" aria-labelledby={`tab-${tabShown(tab)}`} tabIndex={0}><Panel state={state} tab={tab} /></section>
      {state.viewed.value !== null && <EvidenceViewer state={state} seq={state.viewed.value} />}
      {state.isHelpOpen.value && <KeysHelp close={() => { state.isHelpOpen.value = false; }} />}
    </div>
  );
}
