/** Events of a run of an agent, as publishers send them: every kind that the pages know. */

/** A PNG of one colour, 64 × 40, as a data address. Made by the browser's canvas once, and kept as text. */
export const PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const STEPS = ["Open the shop", "Search for a lamp", "Put it into the cart", "Fill in the address", "Pay"];

/** A run with steps, progress, console, network, an error, scores and evidence. */
export function shopRun(): Record<string, unknown>[] {
  return STEPS.flatMap((name, index): Record<string, unknown>[] => {
    const step = { eventType: "automation_step", stepId: `s${index + 1}`, name, index: index + 1, total: STEPS.length };
    const isLast = index === STEPS.length - 1;
    return [
      { ...step, status: "running" },
      { eventType: "network_request", method: "GET", url: `https://shop.example/step/${index + 1}`, status: isLast ? 502 : 200, durationMs: 84 + index * 31, size: 18_200 },
      { eventType: "console_log", level: index === 1 ? "warn" : "info", message: `page ${index + 1} is ready`, source: "app.js", line: 10 + index },
      { eventType: "evidence", kind: "screenshot", image: PICTURE, caption: `After “${name}”` },
      ...(isLast ? [{ eventType: "error", message: "The payment service does not answer", code: "PAYMENT_502" }] : []),
      { ...step, status: isLast ? "failed" : "passed", durationMs: 900 + index * 450, ...(isLast && { error: "502 Bad Gateway" }) },
      { eventType: "progress", percent: (index + 1) * 20, message: name },
      { eventType: "score_update", criterion: "Goal reached", score: isLast ? 0.6 : 0.2 * (index + 1), comment: `after step ${index + 1}` },
      { eventType: "score_update", criterion: "Care", score: 0.9 - index * 0.05 },
    ];
  });
}
