/** Small parts that every view uses. */
import { type ComponentChildren } from "preact";
import { type Failure, sentence } from "../api/failure.js";
import { oneLine } from "../text/format.js";
import { t } from "../text/index.js";
import { Mark } from "./Badge.js";

/** Something went wrong, and what can be done. */
export function FailureBox({ failure, again, close }: { failure: Failure; again?: () => void; close?: () => void }) {
  return (
    <div class="box box-bad" role="alert">
      <p><strong>{t("error.title")}</strong> {sentence(failure)}</p>
      {again && <button type="button" class="button" onClick={again}>{t("error.retry")}</button>}
      {close && <button type="button" class="button tiny" onClick={close}>{t("evidence.close")}</button>}
    </div>
  );
}

/** Nothing is here, and why. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** How far something is, with the number beside the bar. */
export function Bar({ percent, label }: { percent: number; label: string }) {
  return (
    <span class="bar">
      <progress max={100} value={percent} aria-label={label} />
      <span class="number">{Math.round(percent)} %</span>
    </span>
  );
}

/** What stands where something was to be that can be read. */
export function Unreadable({ said, why }: { said: string; why: string }) {
  return <span class="unreadable" title={why}><Mark shape="alert" /><span class="sr">{why}: </span><bdi>{oneLine(said, 80)}</bdi></span>;
}
