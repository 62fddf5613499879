/** Who takes part in the session now. */
import { Empty } from "../../parts/Bits.js";
import { ownClientId } from "../../live/connection.js";
import { oneLine } from "../../text/format.js";
import { t } from "../../text/index.js";
import type { SessionState } from "../session-state.js";

export function People({ state }: { state: SessionState }) {
  const people = state.model.participants.value;
  if (people.length === 0) return <Empty>{t("people.none")}</Empty>;
  return (
    <ul class="people">
      {people.map(({ clientId, username, role, following }) => (
        <li key={clientId}>
          <strong><bdi>{oneLine(username, 60)}</bdi></strong> {clientId === ownClientId.value && <span class="badge tone-muted">{t("people.you")}</span>}
          <span class="muted small">{oneLine(role, 20)} · {t(following ? "people.following" : "people.publishing")} · <code>{clientId}</code></span>
        </li>
      ))}
    </ul>
  );
}
