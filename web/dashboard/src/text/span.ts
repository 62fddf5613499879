/** Spans of time in the reader's language. */
import { threeDigits } from "./format.js";
import { type TextKey, t } from "./index.js";

/** A span of time in its two largest units: "850 ms", "4.2 s", "3 min 5 s", "2 h 4 min", "3 d 2 h". */
export function span(ms: number): string {
  const value = Math.max(ms, 0);
  if (value < 1000) return t("span.ms", { n: Math.round(value) });
  if (value < 59_950) return t("span.s", { n: (value / 1000).toFixed(1) });
  const seconds = Math.round(value / 1000);
  if (seconds < 3600) return pair(seconds, 60, "span.min", "span.s");
  if (seconds < 86_400) return pair(Math.floor(seconds / 60), 60, "span.h", "span.min");
  return pair(Math.floor(seconds / 3600), 24, "span.d", "span.h");
}

/** A latency with three digits: "0.123 ms", "12.3 ms". */
export function latency(ms: number): string {
  return t("span.ms", { n: threeDigits(ms) });
}

function pair(value: number, per: number, large: TextKey, small: TextKey): string {
  const [whole, rest] = [t(large, { n: Math.floor(value / per) }), value % per];
  return rest === 0 ? whole : t("span.pair", { large: whole, small: t(small, { n: rest }) });
}
