/** What the server's own rules say: what fires, in words, and what changed lately. */
import { useEffect, useState } from "preact/hooks";
import type { Api } from "../api/http.js";
import type { Alert, AlertChange, Alerts as Told, Rule } from "../api/types.js";
import { now } from "../clock.js";
import { Mark, alertLook, changeLook } from "../parts/Badge.js";
import { Empty } from "../parts/Bits.js";
import { ago, moment, threeDigits, whole } from "../text/format.js";
import { span } from "../text/span.js";
import { locale, t } from "../text/index.js";

/** Time between two looks at the rules, ms. */
const EVERY = 2000;
/** Changes that are shown. */
const SHOWN = 8;

/** The rules as the server tells them; `null` until it does, and where it has none. */
export function useAlerts(api: Api | undefined, firing: string): Told | null {
  const [told, setTold] = useState<Told | null>(null);
  useEffect(() => {
    if (!api) return undefined;
    let isGone = false;
    const ask = (): void => {
      if (document.hidden) return;
      // A server without rules shows what its figures say; a lost one is told by the figures, too.
      api.alerts().then((answer) => !isGone && setTold(answer), () => undefined);
    };
    ask();
    const timer = setInterval(ask, EVERY);
    return () => {
      isGone = true;
      clearInterval(timer);
    };
    // What begins to fire is asked about at once.
  }, [api, firing]);
  return told;
}

/** A figure of a rule: whole numbers as such, others with three digits. */
function figure(value: number): string {
  return Number.isInteger(value) ? whole(value, locale.value) : threeDigits(value);
}

/** The value and the limit in words: "12.5 refused per second, limit 5". */
export function reading({ value, threshold, unit }: Pick<Rule, "value" | "threshold" | "unit">): string {
  const limit = typeof threshold === "number" ? figure(threshold) : (threshold ?? "–");
  if (typeof value !== "number") return t("now.alerts.limit", { threshold: limit });
  return t("now.alerts.value", { value: `${figure(value)} ${unit ?? ""}`.trim(), threshold: limit });
}

function Firing({ alert, rule }: { alert: Alert; rule: Rule | undefined }) {
  const { since } = alert;
  const { shape, tone, said } = alertLook(alert.severity);
  return (
    <li class={`alert tone-${tone}`}>
      <Mark shape={shape} />
      <strong>{said}</strong>
      <strong class="alert-summary">{alert.summary}</strong>
      <span class="number">{reading({ ...alert, unit: rule?.unit ?? null })}</span>
      <span class="muted number">{typeof since === "number" && t("now.alerts.since", { time: span(now.value - since) })} <code>{alert.name}</code></span>
      {typeof rule?.description === "string" && <p class="small">{rule.description}</p>}
    </li>
  );
}

export function Alerts({ alerts, rules }: { alerts: Alert[] | undefined; rules: readonly Rule[] }) {
  if (!alerts) return null;
  return (
    <section aria-label={t("now.alerts")} class="alerts">
      {alerts.length === 0
        ? <p class="alert tone-good"><Mark shape="check" />{t("now.alerts.none")}</p>
        : <ul>{alerts.map((alert) => <Firing key={alert.name} alert={alert} rule={rules.find(({ name }) => name === alert.name)} />)}</ul>}
    </section>
  );
}

function Changed({ change, rule }: { change: AlertChange; rule: Rule | undefined }) {
  const { shape, tone, said } = changeLook(change.state, rule?.severity);
  return (
    <li>
      <span class={`badge tone-${tone}`}><Mark shape={shape} />{said}</span>
      <span class="said">
        {rule?.summary ?? change.name}{" "}
        {typeof change.value === "number" && <span class="muted small number">{figure(change.value)} {rule?.unit ?? ""}</span>}
      </span>
      <time class="muted small" title={moment(change.at, locale.value)}>{ago(change.at, now.value, locale.value)}</time>
    </li>
  );
}

/** What changed lately, the newest first. */
export function RecentChanges({ told }: { told: Told | null }) {
  if (!told) return null;
  const newest = [...told.changes].sort((a, b) => b.at - a.at).slice(0, SHOWN);
  return (
    <section class="card">
      <h2>{t("now.changes")}</h2>
      {newest.length === 0 ? <Empty>{t("now.changes.none")}</Empty> : (
        <ul class="changes">{newest.map((change) => <Changed key={`${change.at} ${change.name} ${change.state}`} change={change} rule={told.rules.find(({ name }) => name === change.name)} />)}</ul>
      )}
    </section>
  );
}
