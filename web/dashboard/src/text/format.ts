/** Numbers, times and sizes as people read them. */

const SIZES = ["B", "kB", "MB", "GB", "TB"] as const;

/** 1536 → "1.54 kB": three digits and the unit, by thousands. */
export function bytes(value: number): string {
  let [rest, unit] = [Math.max(value, 0), 0];
  while (rest >= 1000 && unit < SIZES.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(rest) : threeDigits(rest)} ${SIZES[unit] ?? "B"}`;
}

/** A number with three digits that count: 0.123, 1.23, 12.3, 123. */
export function threeDigits(value: number): string {
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  return size === 0 ? "0" : value.toPrecision(2);
}

/** Without zeros behind the point that say nothing: "2.00/s" → "2/s", "0.50 ms" → "0.5 ms". For axes, whose numbers are round. */
export function plain(shown: string): string {
  return shown.replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");
}

/** 12345 → "12,345". */
export function whole(value: number, language = "en"): string {
  return new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(value);
}

/** How long ago, in words of the language: "5s ago". */
export function ago(then: number, now: number, language = "en"): string {
  const seconds = Math.min(Math.round((then - now) / 1000), 0);
  const words = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "narrow" });
  if (seconds > -60) return words.format(seconds, "second");
  if (seconds > -3600) return words.format(Math.round(seconds / 60), "minute");
  if (seconds > -86_400) return words.format(Math.round(seconds / 3600), "hour");
  return words.format(Math.round(seconds / 86_400), "day");
}

/** The time of day with ms: "14:03:07.250". */
export function clock(ms: number): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "–";
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Date and time of day in the language's way. */
export function moment(ms: number, language = "en"): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "–";
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(date);
}

/** Text cut to a number of characters, with a sign that it was. Never cuts a surrogate pair in two. */
export function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  const end = /[\uD800-\uDBFF]/.test(text[length - 1] ?? "") ? length - 1 : length;
  return `${text.slice(0, end)}…`;
}

/**
 * Text for one line: line breaks, controls and the marks that turn the direction of text around are shown by visible
 * signs, so that an event cannot rearrange what stands beside it.
 */
export function oneLine(text: string, length = 300): string {
  return cut(text, length)
    // eslint-disable-next-line no-control-regex -- controls are what is looked for
    .replaceAll(/[\u0000-\u001F\u007F]+/g, " ")
    .replaceAll(/[\u200E\u200F\u202A-\u202E\u2066-\u2069]/g, "\u00B7");
}
