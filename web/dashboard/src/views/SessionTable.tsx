/** Sessions as rows, of which only those in sight are drawn. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { SessionInfo } from "../api/types.js";
import { now } from "../clock.js";
import { StallBadge, StatusBadge } from "../parts/Badge.js";
import { Bar } from "../parts/Bits.js";
import { useRowsInSight } from "../parts/use-rows-in-sight.js";
import { sessionHref } from "../routes.js";
import { ago, moment, oneLine, whole } from "../text/format.js";
import { locale, t } from "../text/index.js";

/** Heights of a row, px, wide and narrow; the style sheet has the same. */
const [ROW, NARROW_ROW] = [54, 148];
const narrow = matchMedia("(max-width: 760px)");
const isNarrow = signal(narrow.matches);
narrow.addEventListener("change", () => { isNarrow.value = narrow.matches; });

function Row({ session, place }: { session: SessionInfo; place: number }) {
  const { sessionId, lastEventAt, progress } = session;
  return (
    <tr aria-rowindex={place + 2}>
      <td>
        <a class="row-link" href={sessionHref(sessionId)}><bdi>{oneLine(session.agentName, 80)}</bdi></a>
        <span class="muted small block"><code>{sessionId.slice(0, 8)}</code></span>
      </td>
      <td><bdi class="block">{oneLine(session.testId, 80)}</bdi><span class="muted small block"><bdi>{oneLine(session.projectId, 60)}</bdi></span></td>
      <td><span class="badges"><StatusBadge status={session.status} />{session.stalled === true && <StallBadge />}</span></td>
      <td data-label={t("sessions.progress")}>{typeof progress === "number" ? <Bar percent={progress} label={t("sessions.progress")} /> : <span class="muted">–</span>}</td>
      <td class="right number" data-label={t("sessions.events")}>{whole(session.headSeq, locale.value)}</td>
      <td class="right" data-label={t("sessions.last")}>{typeof lastEventAt === "number" ? ago(lastEventAt, now.value, locale.value) : <span class="muted">–</span>}</td>
      <td class="right" data-label={t("sessions.started")} title={moment(session.createdAt, locale.value)}>{ago(session.createdAt, now.value, locale.value)}</td>
    </tr>
  );
}

/** Room for rows that are not drawn. */
function Room({ height }: { height: number }) {
  return height > 0 ? <tbody class="room" aria-hidden="true"><tr><td colSpan={7} style={{ height: `${height}px` }} /></tr></tbody> : null;
}

/** The table. `onEnd` is told when the last row is nearly in sight. */
export function SessionTable({ sessions, onEnd }: { sessions: readonly SessionInfo[]; onEnd?: () => void }) {
  const body = useRef<HTMLTableElement>(null);
  const { first, end, above, below } = useRowsInSight(body, sessions.length, isNarrow.value ? NARROW_ROW : ROW);
  const isEnd = end >= sessions.length;
  useEffect(() => {
    if (isEnd) onEnd?.();
  }, [isEnd, sessions.length, onEnd]);
  return (
    <table ref={body} class="sessions" aria-rowcount={sessions.length + 1}>
      <thead>
        <tr aria-rowindex={1}>
          <th>{t("sessions.agent")}</th><th>{t("sessions.test")}</th><th>{t("sessions.status")}</th><th>{t("sessions.progress")}</th>
          <th class="right">{t("sessions.events")}</th><th class="right">{t("sessions.last")}</th><th class="right">{t("sessions.started")}</th>
        </tr>
      </thead>
      <Room height={above} />
      <tbody>{sessions.slice(first, end).map((session, index) => <Row key={session.sessionId} session={session} place={first + index} />)}</tbody>
      <Room height={below} />
    </table>
  );
}
