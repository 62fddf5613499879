/** The chosen event, whole, as text. */
import { useState } from "preact/hooks";
import { Mark } from "../../parts/Badge.js";
import { Empty } from "../../parts/Bits.js";
import { clock, moment, oneLine, whole } from "../../text/format.js";
import { locale, t } from "../../text/index.js";
import { describe } from "../../timeline/describe.js";
import type { Entry, Gap } from "../../timeline/entry.js";
import type { SessionState } from "../session-state.js";
import { gapText } from "../TimelinePanel.js";
import { Thumbnail } from "./Thumbnail.js";
import { Watch } from "./Watch.js";
import { evidenceOf } from "../../timeline/derive.js";

/** Characters shown at first, and added each time. */
const SHOWN = 20_000;

function Json({ value }: { value: unknown }) {
  const [shown, setShown] = useState(SHOWN);
  const text = JSON.stringify(value, null, 2);
  return (
    <>
      <pre class="json" tabIndex={0} dir="ltr">{text.slice(0, shown)}</pre>
      {text.length > shown && (
        <button type="button" class="button tiny" onClick={() => setShown(shown + SHOWN)}>
          {t("details.more")} ({t("details.cut", { n: whole(text.length - shown, locale.value) })})
        </button>
      )}
    </>
  );
}

function Copy({ entry }: { entry: Entry }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(JSON.stringify(entry.data, null, 2));
      setCopied(true);
    } catch {
      // The browser does not allow it here; the text can be marked by hand.
    }
  };
  return <button type="button" class="button tiny" onClick={copy}>{isCopied ? t("details.copied") : t("details.copy")}</button>;
}

function GapDetails({ gap, state }: { gap: Gap; state: SessionState }) {
  const load = (): void => {
    state.model.timeline.reopen(gap.from, gap.to);
    state.model.want(gap.from, gap.to);
  };
  return (
    <div class="panel">
      <p class="box box-warn">{gapText(gap)}</p>
      {gap.history && state.model.actions && <button type="button" class="button" onClick={load}>{t("timeline.gap.load")}</button>}
    </div>
  );
}

export function Details({ state }: { state: SessionState }) {
  if (state.playing.value === null) return <Chosen state={state} />;
  return <><Watch state={state} /><Chosen state={state} /></>;
}

function Chosen({ state }: { state: SessionState }) {
  const { timeline, changed } = state.model;
  void changed.value;
  const seq = state.chosen.value;
  if (seq === null) return <Watch state={state} />;
  const entry = timeline.get(seq);
  if (!entry) {
    const gap = timeline.gapAt(seq);
    return gap ? <GapDetails gap={gap} state={state} /> : <Empty>{t("session.loading")}</Empty>;
  }
  const { sender } = entry;
  const { title, marks } = describe(entry);
  return (
    <div class="panel" key={seq}>
      <h2 class="wrap"><bdi>{title}</bdi></h2>
      {marks.length > 0 && <ul class="box box-warn" aria-label={t("details.marks")}>{marks.map((mark) => <li key={mark} class="unreadable"><Mark shape="alert" /><bdi>{mark}</bdi></li>)}</ul>}
      {entry.kind === "evidence" && state.playing.value === null && <Thumbnail evidence={evidenceOf(entry)} state={state} number={seq} />}
      <dl class="facts-list">
        <dt>{t("details.seq")}</dt><dd class="number">{whole(seq, locale.value)}</dd>
        <dt>{t("details.type")}</dt><dd><code>{oneLine(entry.name, 100)}</code></dd>
        <dt>{t("details.received")}</dt><dd class="number" title={moment(entry.at, locale.value)}>{clock(entry.at)}</dd>
        <dt>{t("details.time")}</dt><dd class="number" title={moment(entry.timestamp, locale.value)}>{clock(entry.timestamp)}</dd>
        {sender && <><dt>{t("details.sender")}</dt><dd><bdi>{oneLine(sender.username, 60)}</bdi> <span class="muted">{oneLine(sender.role, 20)}</span></dd></>}
        <dt>{t("details.id")}</dt><dd><code>{oneLine(entry.id, 128)}</code></dd>
      </dl>
      <h3>{t("details.data")} <Copy entry={entry} /></h3>
      <Json value={entry.data} />
      {entry.metadata && <><h3>{t("details.metadata")}</h3><Json value={entry.metadata} /></>}
    </div>
  );
}
