/** Marks of a state: a shape, a word and a colour, so that no one of them has to be seen. */
import type { SessionInfo } from "../api/types.js";
import { t } from "../text/index.js";
import type { StepStatus } from "../timeline/derive.js";
import type { Tone } from "../timeline/describe.js";

type Shape = "ring" | "play" | "pause" | "check" | "cross" | "clock" | "skip" | "alert";

const PATHS: Record<Shape, string> = {
  ring: "M8 3.2a4.8 4.8 0 1 0 0 9.6a4.8 4.8 0 1 0 0-9.6",
  play: "M5.5 3.5l7 4.5l-7 4.5z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  check: "M3.5 8.5l3 3l6-7",
  cross: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  clock: "M8 2.8a5.2 5.2 0 1 0 0 10.4a5.2 5.2 0 1 0 0-10.4M8 5v3.2l2 1.3",
  skip: "M4 4l4 4l-4 4M9 4l4 4l-4 4",
  alert: "M8 2.5l6 11h-12zM8 6.5v3M8 11.4v.3",
};

/** A small drawing. Says nothing to a screen reader: the word beside it does. */
export function Mark({ shape }: { shape: Shape }) {
  return (
    <svg class={`mark mark-${shape}`} viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
      <path d={PATHS[shape]} />
    </svg>
  );
}

const STATUS: Record<SessionInfo["status"], { shape: Shape; tone: Tone }> = {
  idle: { shape: "ring", tone: "muted" },
  running: { shape: "play", tone: "busy" },
  paused: { shape: "pause", tone: "warn" },
  completed: { shape: "check", tone: "good" },
  error: { shape: "cross", tone: "bad" },
  expired: { shape: "clock", tone: "muted" },
};

/** A session's state. */
export function StatusBadge({ status }: { status: SessionInfo["status"] }) {
  const { shape, tone } = STATUS[status];
  return <span class={`badge tone-${tone}`}><Mark shape={shape} />{t(`status.${status}`)}</span>;
}

const STEP: Record<StepStatus, { shape: Shape; tone: Tone }> = {
  running: { shape: "play", tone: "busy" },
  passed: { shape: "check", tone: "good" },
  failed: { shape: "cross", tone: "bad" },
  skipped: { shape: "skip", tone: "muted" },
};

/** A step's state. */
export function StepBadge({ status }: { status: StepStatus }) {
  const { shape, tone } = STEP[status];
  return <span class={`badge tone-${tone}`}><Mark shape={shape} />{t(`step.${status}`)}</span>;
}

/** An agent that is silent for much longer than its pace. */
export function StallBadge() {
  return <span class="badge tone-warn" title={t("sessions.stalled.hint")}><Mark shape="alert" />{t("sessions.stalled")}</span>;
}
