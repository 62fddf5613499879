/** Sessions as rows. */
import type { SessionInfo } from "../api/types.js";
import { now } from "../clock.js";
import { StallBadge, StatusBadge } from "../parts/Badge.js";
import { Bar } from "../parts/Bits.js";
import { sessionHref } from "../routes.js";
import { ago, moment, oneLine, whole } from "../text/format.js";
import { language, t } from "../text/index.js";

function Row({ session }: { session: SessionInfo }) {
  const { sessionId, lastEventAt, progress } = session;
  return (
    <tr>
      <td>
        <a class="row-link" href={sessionHref(sessionId)}><bdi>{oneLine(session.agentName, 80)}</bdi></a>
        <span class="muted small block"><code>{sessionId.slice(0, 8)}</code></span>
      </td>
      <td><bdi>{oneLine(session.testId, 80)}</bdi><span class="muted small block"><bdi>{oneLine(session.projectId, 60)}</bdi></span></td>
      <td><span class="badges"><StatusBadge status={session.status} />{session.stalled === true && <StallBadge />}</span></td>
      <td data-label={t("sessions.progress")}>{typeof progress === "number" ? <Bar percent={progress} label={t("sessions.progress")} /> : <span class="muted">–</span>}</td>
      <td class="right number" data-label={t("sessions.events")}>{whole(session.headSeq, language.value)}</td>
      <td class="right" data-label={t("sessions.last")}>{typeof lastEventAt === "number" ? ago(lastEventAt, now.value, language.value) : <span class="muted">–</span>}</td>
      <td class="right" data-label={t("sessions.started")} title={moment(session.createdAt, language.value)}>{ago(session.createdAt, now.value, language.value)}</td>
    </tr>
  );
}

export function SessionTable({ sessions }: { sessions: readonly SessionInfo[] }) {
  return (
    <table class="sessions">
      <thead>
        <tr>
          <th>{t("sessions.agent")}</th><th>{t("sessions.test")}</th><th>{t("sessions.status")}</th><th>{t("sessions.progress")}</th>
          <th class="right">{t("sessions.events")}</th><th class="right">{t("sessions.last")}</th><th class="right">{t("sessions.started")}</th>
        </tr>
      </thead>
      <tbody>{sessions.map((session) => <Row key={session.sessionId} session={session} />)}</tbody>
    </table>
  );
}
