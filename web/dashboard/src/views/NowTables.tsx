/** Slow readers, states and queues: each is left out where the server does not tell of it. */
import type { SessionInfo, SlowReader, Stats } from "../api/types.js";
import { StatusBadge } from "../parts/Badge.js";
import { Empty } from "../parts/Bits.js";
import { sessionHref } from "../routes.js";
import { bytes, whole } from "../text/format.js";
import { locale, t } from "../text/index.js";
import { word } from "../timeline/describe.js";

export function SlowReaders({ readers }: { readers: SlowReader[] | undefined }) {
  if (!readers) return null;
  return (
    <section class="card">
      <h2>{t("now.slow")}</h2>
      {readers.length === 0 ? <Empty>{t("now.slow.none")}</Empty> : (
        <table>
          <thead><tr><th>{t("now.slow.user")}</th><th>{t("now.slow.session")}</th><th class="right">{t("now.slow.behind")}</th></tr></thead>
          <tbody>
            {readers.slice(0, 10).map((reader) => (
              <tr key={`${reader.clientId} ${reader.sessionId}`}>
                <td title={`${t("now.slow.client")} ${reader.clientId}`}><bdi>{reader.userId}</bdi></td>
                <td><a href={sessionHref(reader.sessionId)}><code>{reader.sessionId.slice(0, 8)}</code></a></td>
                <td class="right number">{whole(reader.behind, locale.value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

const STATES: SessionInfo["status"][] = ["running", "paused", "idle", "completed", "error", "expired"];

/** The states that are listed: those that are known, and others that a newer server counts. */
export function statesOf(counts: NonNullable<Stats["sessionsByState"]>): SessionInfo["status"][] {
  return [...new Set([...STATES, ...(Object.keys(counts) as SessionInfo["status"][])])];
}

export function ByState({ counts }: { counts: Stats["sessionsByState"] }) {
  if (!counts) return null;
  return (
    <section class="card">
      <h2>{t("now.byState")}</h2>
      <table>
        <tbody>
          {statesOf(counts).map((state) => <tr key={state}><td><StatusBadge status={state} /></td><td class="right number">{whole(counts[state] ?? 0, locale.value)}</td></tr>)}
        </tbody>
      </table>
    </section>
  );
}

/** Queues that are measured in bytes; the others count. */
const IN_BYTES: readonly string[] = ["commit_backlog", "receive_buffer", "mailboxes"];

export function Queues({ queues }: { queues: Stats["queues"] }) {
  if (!queues || queues.length === 0) return null;
  return (
    <section class="card">
      <h2>{t("now.queues")}</h2>
      <table>
        <thead><tr><th>{t("now.queue")}</th><th class="right">{t("now.depth")}</th><th class="right">{t("now.bound")}</th></tr></thead>
        <tbody>
          {queues.map(({ name, depth, bound }) => {
            const shown = (value: number): string => (IN_BYTES.includes(name) ? bytes(value) : whole(value, locale.value));
            return <tr key={name}><td>{word("queue", name)}</td><td class="right number">{shown(depth)}</td><td class="right number">{typeof bound === "number" ? shown(bound) : "–"}</td></tr>;
          })}
        </tbody>
      </table>
    </section>
  );
}
