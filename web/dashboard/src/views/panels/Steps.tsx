/** The agent's steps: how each went, and how long it took. */
import { StepBadge } from "../../parts/Badge.js";
import { Empty } from "../../parts/Bits.js";
import { oneLine } from "../../text/format.js";
import { span } from "../../text/span.js";
import { t } from "../../text/index.js";
import { count, steps } from "../../timeline/derive.js";
import type { SessionState } from "../session-state.js";

/** Most steps that are drawn: the newest ones. */
const SHOWN = 500;

export function Steps({ state }: { state: SessionState }) {
  void state.model.changed.value;
  const all = steps(state.model.timeline.entriesOf("step", state.upTo.value));
  if (all.length === 0) return <Empty>{t("steps.none")}</Empty>;
  const { done, unknown } = count(all);
  const total = Math.max(all.length, ...all.slice(-SHOWN).map((step) => step.total ?? 0));
  const longest = Math.max(...all.slice(-SHOWN).map((step) => step.durationMs ?? 0), 1);
  return (
    <div class="panel">
      <p class="muted small number">{t("steps.total", { done, total })}{unknown > 0 && ` · ${t("steps.unknown", { n: unknown })}`}</p>
      <ol class="steps">
        {all.slice(-SHOWN).map((step) => (
          <li key={step.key}>
            <button type="button" class="step" onClick={() => state.goTo(step.lastSeq)}>
              <span class="step-name"><bdi>{oneLine(step.name, 120)}</bdi></span>
              <StepBadge step={step} />
              <span class="step-time">
                {step.durationMs !== null && <><meter min={0} max={longest} value={step.durationMs} aria-hidden="true" /><span class="number small">{span(step.durationMs)}</span></>}
              </span>
              {step.error !== null && <span class="step-error"><bdi>{oneLine(step.error, 200)}</bdi></span>}
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}
