/** All evidence of the session, newest last. */
import { Empty } from "../../parts/Bits.js";
import { t } from "../../text/index.js";
import { evidenceOf } from "../../timeline/derive.js";
import type { SessionState } from "../session-state.js";
import { Thumbnail } from "./Thumbnail.js";

/** Most thumbnails: the newest ones. */
const SHOWN = 200;

export function EvidencePanel({ state }: { state: SessionState }) {
  void state.model.changed.value;
  const all = state.model.timeline.entriesOf("evidence", state.upTo.value).slice(-SHOWN);
  if (all.length === 0) return <Empty>{t("evidence.none")}</Empty>;
  return <div class="thumbs">{all.map((entry) => <Thumbnail key={entry.seq} evidence={evidenceOf(entry)} state={state} number={entry.seq} />)}</div>;
}
