/** What a session is and how it stands, with what one can do with it. */
import { useState } from "preact/hooks";
import { asFailure } from "../api/failure.js";
import { now } from "../clock.js";
import type { Actions, Control } from "../live/model.js";
import { own } from "../own.js";
import { Mark, StallBadge, StatusBadge } from "../parts/Badge.js";
import { Bar, Unreadable } from "../parts/Bits.js";
import { moment, oneLine, whole } from "../text/format.js";
import { span } from "../text/span.js";
import { locale, t } from "../text/index.js";
import { progress } from "../timeline/derive.js";
import type { SessionState } from "./session-state.js";

const CONTROLS: Readonly<Record<string, readonly Control[]>> = { idle: ["start"], running: ["pause", "stop"], paused: ["resume", "stop"] };

function Controls({ state, actions }: { state: SessionState; actions: Actions }) {
  const [asks, setAsks] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const run = async (what: Control): Promise<void> => {
    setAsks(false);
    setBusy(true);
    try {
      await actions.control(what);
      state.problem.value = null;
    } catch (error) {
      state.problem.value = asFailure(error);
    } finally {
      setBusy(false);
    }
  };
  if (asks) {
    return (
      <span class="buttons" role="group" aria-label={t("session.stop.sure")}>
        <span>{t("session.stop.sure")}</span>
        <button type="button" class="button danger" onClick={() => run("stop")}>{t("session.stop")}</button>
        <button type="button" class="button" onClick={() => setAsks(false)}>{t("session.cancel")}</button>
      </span>
    );
  }
  const offered = own(CONTROLS, state.model.info.value.status) ?? [];
  return (
    <span class="buttons">
      {offered.map((what) => (
        <button key={what} type="button" class="button" disabled={isBusy} onClick={() => (what === "stop" ? setAsks(true) : run(what))}>{t(`session.${what}`)}</button>
      ))}
    </span>
  );
}

/** Gives a file to the browser to save. */
export function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function Export({ state, actions }: { state: SessionState; actions: Actions }) {
  const [busy, setBusy] = useState("");
  const run = async (format: "jsonl" | "html"): Promise<void> => {
    setBusy(format);
    try {
      save(await actions.export(format), `${state.model.info.value.sessionId}.${format}`);
    } catch (error) {
      state.problem.value = asFailure(error);
    } finally {
      setBusy("");
    }
  };
  return (
    <span class="buttons" role="group" aria-label={t("session.export")}>
      <span class="muted small">{t("session.export")}</span>
      {(["jsonl", "html"] as const).map((format) => (
        <button key={format} type="button" class="button" disabled={busy !== ""} onClick={() => run(format)}>
          {busy === format ? t("session.export.working") : t(`session.export.${format}`)}
        </button>
      ))}
    </span>
  );
}

function Facts({ state }: { state: SessionState }) {
  const info = state.model.info.value;
  const end = info.endedAt ?? (state.model.exportedAt ?? now.value);
  return (
    <p class="facts muted small">
      <span>{t("session.project")} <bdi>{oneLine(info.projectId, 60)}</bdi></span>
      <span class="number">{t("session.events", { n: whole(state.upTo.value, locale.value) })}</span>
      {typeof info.startedAt === "number" && <span class="number">{t("session.duration")} {span(end - info.startedAt)}</span>}
      <span>{t("session.created")} {moment(info.createdAt, locale.value)} <bdi>{t("session.by", { user: oneLine(info.createdBy, 40) })}</bdi></span>
      {typeof info.reason === "string" && <span><bdi>{t("session.reason", { reason: oneLine(info.reason, 120) })}</bdi></span>}
      <code>{info.sessionId}</code>
    </p>
  );
}

export function SessionHead({ state }: { state: SessionState }) {
  const { info, actions, exportedAt, timeline, changed } = state.model;
  void changed.value;
  const { agentName, testId, status, stalled } = info.value;
  const listed = typeof info.value.progress === "number" ? { percent: info.value.progress } : null;
  const told = progress(timeline.entriesOf("progress", state.upTo.value)) ?? listed;
  return (
    <div class="session-head">
      {exportedAt === null && <a class="back" href="#/sessions" aria-label={t("session.back")}><Mark shape="play" /></a>}
      <div class="session-name">
        <h1><bdi>{oneLine(agentName, 100)}</bdi> <span class="muted"><bdi>{oneLine(testId, 100)}</bdi></span></h1>
        <span class="badges">
          <StatusBadge status={status} />
          {stalled === true && <StallBadge />}
          {told && ("percent" in told ? <Bar percent={told.percent} label={t("sessions.progress")} /> : <Unreadable said={told.said} why={t("progress.unreadable")} />)}
          {exportedAt !== null && <span class="muted small">{t("session.exported", { time: moment(exportedAt, locale.value) })}</span>}
        </span>
      </div>
      <div class="session-actions">
        {actions?.mayControl && <Controls state={state} actions={actions} />}
        {actions && <Export state={state} actions={actions} />}
        <button type="button" class="button" aria-label={t("keys.open")} title={t("keys.open")} onClick={() => { state.isHelpOpen.value = true; }}>?</button>
      </div>
      <Facts state={state} />
    </div>
  );
}
