/** Scores over time with who gave them, and reviewers' notes. */
import { useMemo } from "preact/hooks";
import { Empty, Unreadable } from "../../parts/Bits.js";
import { Plot } from "../../plots/Plot.js";
import { clock, oneLine, plain, threeDigits } from "../../text/format.js";
import { t } from "../../text/index.js";
import { type Scale, type Score, newest, notes, scales, scores } from "../../timeline/derive.js";
import { scoreOf } from "../../timeline/describe.js";
import { hasEnded } from "../../live/model.js";
import type { SessionState } from "../session-state.js";
import { ReviewForms } from "./ReviewForms.js";

/** Most lines of a plot, most plots, most authors and criteria whose newest score is listed, most rows of the history. */
const [LINES, PLOTS, NEWEST, LISTED] = [4, 4, 40, 300];

/** The scores of one scale. Each author's scores of a criterion are a line of their own. */
function ScalePlot({ scale: { max, lines } }: { scale: Scale }) {
  // Those who gave scores last.
  const drawn = [...lines].sort((a, b) => (b.given.at(-1)?.seq ?? 0) - (a.given.at(-1)?.seq ?? 0)).slice(0, LINES);
  const all = drawn.flatMap(({ given }) => given).sort((a, b) => a.at - b.at || a.seq - b.seq);
  const series = drawn.map(({ criterion, author }) => ({ label: t("scores.line", { criterion: oneLine(criterion, 30), author: oneLine(author, 30) }), stepped: true, points: true }));
  const data = useMemo(() => [
    all.map((score) => score.at / 1000),
    ...drawn.map(({ given }) => {
      const own = new Set(given);
      return all.map((score) => (own.has(score) ? score.score : null));
    }),
  ], [all.map(({ seq }) => seq).join()]);
  const label = t("scores.plot.of", { max: plain(threeDigits(max)) });
  return (
    <>
      <h3>{label}</h3>
      <Plot label={label} data={data} series={series} format={threeDigits} height={170} atLeast={max} hasLegend />
      {lines.length > drawn.length && <p class="muted small">{t("scores.plot.more", { n: lines.length - drawn.length })}</p>}
    </>
  );
}

function Value({ score: { score, max, said } }: { score: Score }) {
  return score === null ? <Unreadable said={said} why={t("scores.unreadable")} /> : <>{scoreOf(score, max)}</>;
}

function By({ score }: { score: Score }) {
  return <span class="muted small"><bdi>{t("session.by", { user: oneLine(score.author, 40) })}</bdi></span>;
}

function Given({ score, state }: { score: Score; state: SessionState }) {
  return (
    <tr>
      <td><button type="button" class="plain number" onClick={() => state.goTo(score.seq)}>{clock(score.at).slice(0, 8)}</button></td>
      <td><bdi>{oneLine(score.criterion, 60)}</bdi> <By score={score} />{score.comment !== null && <span class="muted small block"><bdi>{oneLine(score.comment, 200)}</bdi></span>}</td>
      <td class="right number"><Value score={score} /></td>
    </tr>
  );
}

function Newest({ all }: { all: readonly Score[] }) {
  return (
    <ul class="newest">
      {newest(all).slice(0, NEWEST).map((score) => (
        <li key={JSON.stringify([score.authorId, score.criterion])}>
          <span><bdi>{oneLine(score.criterion, 60)}</bdi> <By score={score} /></span>
          <strong class="number"><Value score={score} /></strong>
        </li>
      ))}
    </ul>
  );
}

export function ScoresPanel({ state }: { state: SessionState }) {
  const { info, timeline, changed, actions } = state.model;
  void changed.value;
  const all = scores(timeline.entriesOf("score", state.upTo.value));
  const said = notes(timeline.entriesOf("note", state.upTo.value)).slice(-LISTED);
  return (
    <div class="panel">
      {all.length === 0 ? <Empty>{t("scores.none")}</Empty> : (
        <>
          <Newest all={all} />
          {scales(all).slice(-PLOTS).map((scale) => <ScalePlot key={scale.max} scale={scale} />)}
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
      {actions?.mayReview && (hasEnded(info.value) ? <p class="muted small">{t("review.ended")}</p> : <ReviewForms state={state} actions={actions} />)}
    </div>
  );
}
