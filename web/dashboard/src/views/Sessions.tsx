/** All sessions that the token may see: search, filters, pages. */
import { signal } from "@preact/signals";
import type { SessionInfo } from "../api/types.js";
import { Empty, FailureBox } from "../parts/Bits.js";
import { locale, t } from "../text/index.js";
import { whole } from "../text/format.js";
import { SessionTable } from "./SessionTable.js";
import { useSessions } from "./use-sessions.js";

const STATES: SessionInfo["status"][] = ["running", "paused", "idle", "completed", "error", "expired"];

/** What was asked for outlives the view: who comes back from a session finds the list as it was. */
const search = signal("");
const status = signal("");
const project = signal("");

/** Whether a session has the text, as the server's search would say; for servers that cannot search. */
export function hasText(session: SessionInfo, text: string): boolean {
  const needle = text.trim().toLowerCase();
  return [session.agentName, session.testId, session.projectId, session.sessionId].some((field) => field.toLowerCase().includes(needle));
}

export function Sessions() {
  const list = useSessions({ q: search.value.trim(), status: status.value, projectId: project.value.trim() }, 3000);
  const isNarrowed = [search, status, project].some(({ value }) => value.trim() !== "");
  const shown = list.sessions?.filter((session) => hasText(session, search.value));
  return (
    <div class="page">
      <h1>{t("sessions.title")}</h1>
      <div class="filters" role="search">
        <input class="grow" type="search" aria-label={t("sessions.search")} placeholder={t("sessions.search")} value={search.value} onInput={(event) => { search.value = event.currentTarget.value; }} />
        <select aria-label={t("sessions.status")} value={status.value} onChange={(event) => { status.value = event.currentTarget.value; }}>
          <option value="">{t("sessions.status")}: {t("sessions.any")}</option>
          {STATES.map((state) => <option key={state} value={state}>{t(`status.${state}`)}</option>)}
        </select>
        <input type="text" aria-label={t("sessions.project")} placeholder={t("sessions.project")} value={project.value} onInput={(event) => { project.value = event.currentTarget.value; }} />
      </div>
      {list.failure && <FailureBox failure={list.failure} />}
      {!shown && !list.failure && <p class="muted">{t("session.loading")}</p>}
      {shown?.length === 0 && (isNarrowed
        ? <Empty><strong>{t("sessions.none")}</strong> {t("sessions.none.hint")}</Empty>
        : <Empty><strong>{t("sessions.empty")}</strong> {t("sessions.empty.hint")}</Empty>)}
      {shown && shown.length > 0 && <SessionTable sessions={shown} onEnd={list.more} />}
      <p class="foot muted small">
        {shown && <span>{t("sessions.shown", { n: whole(shown.length, locale.value) })}</span>}
        <span>{t("sessions.refresh")}</span>
        {list.hasMore && <button type="button" class="button" disabled={list.isLoading} onClick={list.more}>{t(list.isLoading ? "sessions.loading" : "sessions.more")}</button>}
      </p>
    </div>
  );
}
