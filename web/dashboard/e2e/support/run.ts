/** Events of a run of an agent, as publishers send them: every kind that the pages know. */
import { deflateSync } from "node:zlib";

function chunk(name: string, body: Buffer): Buffer {
  const [length, sum, named] = [Buffer.alloc(4), Buffer.alloc(4), Buffer.concat([Buffer.from(name, "latin1"), body])];
  length.writeUInt32BE(body.length);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
}

/** CRC-32 as PNG has it (ISO 3309). */
function crc32(bytes: Buffer): number {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return (sum ^ 0xffffffff) >>> 0;
}

/** A drawn window, 320 × 200: a bar, a picture and some lines. */
function draw(): Buffer {
  const [width, height] = [320, 200];
  const rows = Array.from({ length: height }, (_row, y) => {
    const row = Buffer.alloc(1 + width * 3);
    for (let x = 0; x < width; x += 1) {
      const isLine = x > 150 && x < 290 - (y % 48) && y > 50 && y % 24 < 8;
      const isPicture = x > 20 && x < 130 && y > 50 && y < 170;
      const colour = y < 28 ? [31, 94, 255] : isPicture ? [250, 180 - (y >> 1), 60 + (x >> 1)] : isLine ? [150, 160, 175] : [246, 247, 249];
      row.set(colour, 1 + x * 3);
    }
    return row;
  });
  const head = Buffer.from([0, 0, width >> 8, width & 255, 0, 0, height >> 8, height & 255, 8, 2, 0, 0, 0]);
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", head), chunk("IDAT", deflateSync(Buffer.concat(rows))), chunk("IEND", Buffer.alloc(0))]);
}

/** A picture. */
export const PNG = draw();
/** The picture as older publishers send it. */
export const PICTURE = `data:image/png;base64,${PNG.toString("base64")}`;

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
