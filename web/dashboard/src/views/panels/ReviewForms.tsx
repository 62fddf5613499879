/** Notes and scores of a reviewer: events like any other, so everybody who follows sees them. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { asFailure, sentence } from "../../api/failure.js";
import type { Actions } from "../../live/model.js";
import { t } from "../../text/index.js";
import type { SessionState } from "../session-state.js";

interface FormProps {
  actions: Actions;
  /** The event's data, or nothing if the form is not filled in. */
  dataOf: (form: FormData) => Record<string, unknown> | null;
  button: string;
  children: ComponentChildren;
}

function Form({ actions, dataOf, button, children }: FormProps) {
  const [said, setSaid] = useState("");
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const data = dataOf(new FormData(form));
    if (!data) return;
    setBusy(true);
    try {
      const outcome = await actions.publish(data);
      if (outcome.is === "stored") form.reset();
      setSaid(outcome.is === "stored" ? t("review.sent") : outcome.is === "refused" ? sentence(outcome.failure) : t("review.unknown"));
    } catch (error) {
      setSaid(sentence(asFailure(error)));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form class="review" onSubmit={submit}>
      {children}
      <span class="buttons"><button type="submit" class="button" disabled={isBusy}>{button}</button><span role="status" class="muted small">{said}</span></span>
    </form>
  );
}

function textOf(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === "string" ? value.trim() : "";
}

export function ReviewForms({ state, actions }: { state: SessionState; actions: Actions }) {
  const about = state.chosen.value;
  return (
    <section aria-label={t("scores.review")}>
      <h3>{t("scores.review")}</h3>
      <Form
        actions={actions} button={t("notes.publish")}
        dataOf={(form) => {
          const text = textOf(form, "text");
          return text === "" ? null : { eventType: "review_note", text, ...(about !== null && { at: about }) };
        }}
      >
        <label for="note">{t("notes.write")} {about !== null && <span class="muted">{t("notes.about", { seq: about })}</span>}</label>
        <textarea id="note" name="text" rows={2} maxLength={4000} required />
      </Form>
      <Form
        actions={actions} button={t("scores.add")}
        dataOf={(form) => {
          const [criterion, comment] = [textOf(form, "criterion"), textOf(form, "comment")];
          const [score, max] = [Number(textOf(form, "score")), Number(textOf(form, "max"))];
          if (criterion === "" || !Number.isFinite(score) || !(max > 0)) return null;
          return { eventType: "review_score", criterion, score, max, ...(comment !== "" && { comment }) };
        }}
      >
        <div class="review-score">
          <label class="grow">{t("scores.criterion")}<input name="criterion" maxLength={100} required /></label>
          <label>{t("scores.value")}<input name="score" type="number" step="any" required /></label>
          <label>{t("scores.max")}<input name="max" type="number" step="any" min="0" value="1" required /></label>
        </div>
        <label for="score-comment">{t("scores.comment")}</label>
        <input id="score-comment" name="comment" maxLength={1000} />
      </Form>
    </section>
  );
}
