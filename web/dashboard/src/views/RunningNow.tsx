/** The sessions that run at the moment. */
import { FailureBox, Empty } from "../parts/Bits.js";
import { t } from "../text/index.js";
import { SessionTable } from "./SessionTable.js";
import { useSessions } from "./use-sessions.js";

/** Most that are shown here; the list of sessions has all. */
const SHOWN = 20;

export function RunningNow() {
  const { sessions, failure } = useSessions({ status: "running" }, 2000);
  return (
    <section aria-labelledby="running">
      <h2 id="running">{t("now.running")}</h2>
      {failure && <FailureBox failure={failure} />}
      {sessions?.length === 0 && <Empty>{t("now.running.none")}</Empty>}
      {sessions && sessions.length > 0 && <SessionTable sessions={sessions.slice(0, SHOWN)} />}
    </section>
  );
}
