/** One piece of evidence as large as the window allows; arrows go through all of them. */
import { useEffect, useState } from "preact/hooks";
import { Dialog } from "../parts/Dialog.js";
import { bytes, clock, oneLine } from "../text/format.js";
import { t } from "../text/index.js";
import { type Evidence, evidenceOf } from "../timeline/derive.js";
import { type Shown, usePiece, whyNot } from "./panels/Thumbnail.js";
import { save } from "./SessionHead.js";
import type { SessionState } from "./session-state.js";

/** Most characters of a text that are shown. */
const TEXT_SHOWN = 200_000;

function Content({ evidence, shown, state }: { evidence: Evidence; shown: Shown; state: SessionState }) {
  const [text, setText] = useState("");
  const { piece, url } = shown;
  const isText = evidence.showing === "text";
  useEffect(() => {
    if (piece && isText) void piece.blob.slice(0, TEXT_SHOWN).text().then(setText);
  }, [piece, isText]);
  const problem = whyNot(evidence, shown, state);
  if (problem !== null) return <p class="muted">{problem}</p>;
  if (url === null) return <p class="muted">{t("evidence.loading")}</p>;
  switch (evidence.showing) {
    case "image":
      return <img src={url} alt={oneLine(evidence.caption, 200)} />;
    case "video":
      return <video src={url} controls />;
    case "text":
      return <pre class="json" tabIndex={0}>{text}</pre>;
    case "file":
      return <p class="muted">{t("evidence.type", { type: oneLine(evidence.contentType, 60) || "–" })}</p>;
  }
}

export function EvidenceViewer({ state, seq }: { state: SessionState; seq: number }) {
  const { timeline } = state.model;
  const entry = timeline.get(seq);
  const close = (): void => { state.viewed.value = null; };
  if (!entry) return null;
  const seqs = timeline.of("evidence");
  const at = seqs.indexOf(seq);
  const go = (by: number): void => {
    const next = seqs[at + by];
    if (next !== undefined) state.viewed.value = next;
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === "ArrowRight" || event.key === "j") go(1);
    else if (event.key === "ArrowLeft" || event.key === "k") go(-1);
  };
  return <Whole key={seq} state={state} evidence={evidenceOf(entry)} place={`${at + 1} / ${seqs.length}`} isFirst={at <= 0} isLast={at >= seqs.length - 1} go={go} close={close} onKey={onKey} />;
}

interface WholeProps {
  state: SessionState;
  evidence: Evidence;
  place: string;
  isFirst: boolean;
  isLast: boolean;
  go: (by: number) => void;
  close: () => void;
  onKey: (event: KeyboardEvent) => void;
}

function Whole({ state, evidence, place, isFirst, isLast, go, close, onKey }: WholeProps) {
  const shown = usePiece(evidence, state, true);
  const caption = oneLine(evidence.caption, 200) || t("evidence.untitled");
  return (
    <Dialog label={caption} class="viewer" close={close} onKey={onKey}>
      <div class="viewer-head">
        <h2><bdi>{caption}</bdi></h2>
        <span class="muted small number">{place} · {clock(evidence.at)}{evidence.size === null ? "" : ` · ${bytes(evidence.size)}`}</span>
        <span class="buttons">
          <button type="button" class="button" disabled={isFirst} onClick={() => go(-1)}>{t("evidence.previous")}</button>
          <button type="button" class="button" disabled={isLast} onClick={() => go(1)}>{t("evidence.next")}</button>
          <button type="button" class="button" onClick={() => { close(); state.goTo(evidence.seq); }}>{t("evidence.goto")}</button>
          {shown.piece && <button type="button" class="button" onClick={() => shown.piece && save(shown.piece.blob, `evidence-${evidence.seq}`)}>{t("evidence.download")}</button>}
          <button type="button" class="button" onClick={close}>{t("evidence.close")}</button>
        </span>
      </div>
      <div class="viewer-body"><Content evidence={evidence} shown={shown} state={state} /></div>
    </Dialog>
  );
}
