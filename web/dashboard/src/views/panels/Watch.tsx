/** The agent at work: its newest picture, and the step that it is at. In a replay, as it was then. */
import { StepBadge } from "../../parts/Badge.js";
import { Empty } from "../../parts/Bits.js";
import { clock, oneLine } from "../../text/format.js";
import { span } from "../../text/span.js";
import { t } from "../../text/index.js";
import { type Evidence, type Step, evidenceOf, steps } from "../../timeline/derive.js";
import { after } from "../../timeline/rows.js";
import type { Timeline } from "../../timeline/store.js";
import type { SessionState } from "../session-state.js";
import { usePiece, whyNot } from "./Thumbnail.js";

/** Pieces of evidence that are looked through for a picture, from the newest. */
const LOOKED_AT = 100;
/** Events of steps that the step at work is found from, from the newest. */
const STEPS = 200;

/** The newest picture up to a seq. */
export function newestPicture(timeline: Timeline, upTo: number): Evidence | null {
  const seqs = timeline.of("evidence");
  const end = after(seqs, upTo);
  for (let at = end - 1; at >= Math.max(end - LOOKED_AT, 0); at -= 1) {
    const entry = timeline.get(seqs[at] ?? 0);
    const evidence = entry && evidenceOf(entry);
    if (evidence?.showing === "image" && evidence.place !== null) return evidence;
  }
  return null;
}

/** The step that the agent is at: the newest that runs, else the newest. */
export function stepAt(timeline: Timeline, upTo: number): Step | null {
  const seqs = timeline.of("step");
  const end = after(seqs, upTo);
  const entries = seqs.slice(Math.max(end - STEPS, 0), end).flatMap((seq) => timeline.get(seq) ?? []);
  const all = steps(entries);
  return all.findLast(({ status }) => status === "running") ?? all.at(-1) ?? null;
}

function StepLine({ step, state }: { step: Step; state: SessionState }) {
  const place = step.index !== null && step.total !== null ? `${step.index} / ${step.total}` : "";
  return (
    <button type="button" class="watch-step" onClick={() => state.goTo(step.lastSeq)}>
      <StepBadge step={step} />
      <strong><bdi>{oneLine(step.name, 120)}</bdi></strong>
      <span class="muted small number">{place}{step.durationMs !== null && ` · ${span(step.durationMs)}`}</span>
      {step.error !== null && <span class="step-error"><bdi>{oneLine(step.error, 200)}</bdi></span>}
    </button>
  );
}

function Picture({ evidence, state }: { evidence: Evidence; state: SessionState }) {
  const shown = usePiece(evidence, state, true);
  const caption = oneLine(evidence.caption, 120) || t("evidence.untitled");
  const problem = whyNot(evidence, shown, state);
  return (
    <figure class="watch-picture">
      {shown.url !== null && problem === null ? (
        <button type="button" aria-label={t("evidence.open", { n: evidence.seq, caption })} onClick={() => { state.viewed.value = evidence.seq; }}><img src={shown.url} alt="" /></button>
      ) : <p class="watch-wait muted small">{problem ?? t("evidence.loading")}</p>}
      <figcaption class="thumb-caption"><bdi>{caption}</bdi><span class="muted number small">{clock(evidence.at)}</span></figcaption>
    </figure>
  );
}

export function Watch({ state }: { state: SessionState }) {
  const { timeline, changed } = state.model;
  void changed.value;
  const upTo = state.upTo.value;
  const [picture, step] = [newestPicture(timeline, upTo), stepAt(timeline, upTo)];
  const isThen = state.playing.value !== null;
  if (!picture && !step) return isThen ? null : <Empty>{t("details.none")}</Empty>;
  return (
    <section class="watch" aria-label={t(isThen ? "watch.then" : "watch.label")}>
      {step && <StepLine step={step} state={state} />}
      {picture ? <Picture evidence={picture} state={state} /> : <p class="watch-wait muted small">{t("watch.none")}</p>}
      {!isThen && <p class="muted small">{t("watch.hint")}</p>}
    </section>
  );
}
