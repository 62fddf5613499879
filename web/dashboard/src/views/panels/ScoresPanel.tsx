/** Scores over time with who gave them, and reviewers' notes. */
import { useMemo } from "preact/hooks";
import { Empty } from "../../parts/Bits.js";
import { Plot } from "../../plots/Plot.js";
import { clock, oneLine, threeDigits } from "../../text/format.js";
import { t } from "../../text/index.js";
import { type Score, byCriterion, notes, scores } from "../../timeline/derive.js";
import type { SessionState } from "../session-state.js";
import { ReviewForms } from "./ReviewForms.js";

/** Most criteria in the plot, and most rows of the history. */
const PLOTTED = 4;
const LISTED = 300;

function ScorePlot({ all }: { all: readonly Score[] }) {
  const last = all.at(-1)?.seq;
  const criteria = [...byCriterion(all).keys()].slice(0, PLOTTED);
  const data = useMemo(() => [
    all.map((score) => score.at / 1000),
    ...criteria.map((name) => all.map((score) => (score.criterion === name ? (score.score / score.max) * 100 : null))),
  ], [last, all.length]);
  const series = criteria.map((name) => ({ label: oneLine(name, 30), stepped: true, points: true }));
  return <Plot label={t("scores.plot")} data={data} series={series} format={(value) => `${threeDigits(value)} %`} height={170} atLeast={91} />;
}

function Given({ score, state }: { score: Score; state: SessionState }) {
  return (
    <tr>
      <td><button type="button" class="plain number" onClick={() => state.goTo(score.seq)}>{clock(score.at).slice(0, 8)}</button></td>
      <td><bdi>{oneLine(score.criterion, 60)}</bdi> <span class="muted small"><bdi>{t("session.by", { user: oneLine(score.author, 40) })}</bdi></span>{score.comment !== null && <span class="muted small block"><bdi>{oneLine(score.comment, 200)}</bdi></span>}</td>
      <td class="right number">{t("scores.of", { score: threeDigits(score.score), max: threeDigits(score.max) })}</td>
    </tr>
  );
}

function Newest({ all }: { all: readonly Score[] }) {
  return (
    <ul class="newest">
      {[...byCriterion(all)].slice(0, 20).map(([name, list]) => {
        const score = list.at(-1);
        return score && (
          <li key={name}>
            <span><bdi>{oneLine(name, 60)}</bdi></span>
            <strong class="number">{t("scores.of", { score: threeDigits(score.score), max: threeDigits(score.max) })}</strong>
          </li>
        );
      })}
    </ul>
  );
}

export function ScoresPanel({ state }: { state: SessionState }) {
  const { timeline, changed, actions } = state.model;
  void changed.value;
  const all = scores(timeline.entriesOf("score", state.upTo.value));
  const said = notes(timeline.entriesOf("note", state.upTo.value)).slice(-LISTED);
  return (
    <div class="panel">
      {all.length === 0 ? <Empty>{t("scores.none")}</Empty> : (
        <>
          <Newest all={all} />
          <h3>{t("scores.plot")}</h3>
          <ScorePlot all={all} />
          <h3>{t("scores.history")}</h3>
          <table class="history"><tbody>{all.slice(-LISTED).reverse().map((score) => <Given key={score.seq} score={score} state={state} />)}</tbody></table>
        </>
      )}
      <h3>{t("notes.title")}</h3>
      {said.length === 0 && <Empty>{t("notes.none")}</Empty>}
      <ul class="notes">
        {said.map((note) => (
          <li key={note.seq}>
            <p class="wrap"><bdi>{note.text.slice(0, 4000)}</bdi></p>
            <span class="muted small">
              <bdi>{oneLine(note.author, 40)}</bdi> · <button type="button" class="plain number" onClick={() => state.goTo(note.about ?? note.seq)}>{note.about === null ? clock(note.at).slice(0, 8) : t("notes.about", { seq: note.about })}</button>
            </span>
          </li>
        ))}
      </ul>
      {actions?.mayReview && <ReviewForms state={state} actions={actions} />}
    </div>
  );
}
