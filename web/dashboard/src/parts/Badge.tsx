/** Marks of a state: a shape, a word and a colour, so that no one of them has to be seen. */
import type { Alert, Rule, SessionInfo } from "../api/types.js";
import { own } from "../own.js";
import { oneLine } from "../text/format.js";
import { t } from "../text/index.js";
import type { Step, StepStatus } from "../timeline/derive.js";
import { type Tone, word } from "../timeline/describe.js";

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

/** How a state looks: a shape, a tone, and its word. */
export interface Look {
  shape: Shape;
  tone: Tone;
  said: string;
}

type Looks<Name extends string> = Record<Name, { shape: Shape; tone: Tone }>;

const STATUS: Looks<SessionInfo["status"]> = {
  idle: { shape: "ring", tone: "muted" },
  running: { shape: "play", tone: "busy" },
  paused: { shape: "pause", tone: "warn" },
  completed: { shape: "check", tone: "good" },
  error: { shape: "cross", tone: "bad" },
  expired: { shape: "clock", tone: "muted" },
};

/** What a word that is not known looks like: no good state, and no bad one. */
const OTHER = { shape: "ring", tone: "muted" } as const;

function Badge({ shape, tone, said }: Look) {
  return <span class={`badge tone-${tone}`}><Mark shape={shape} />{said}</span>;
}

/** A session's state. A newer server may have others than those that are known. */
export function StatusBadge({ status }: { status: SessionInfo["status"] }) {
  return Badge({ ...(own(STATUS, status) ?? OTHER), said: word("status", status) });
}

const STEP: Looks<StepStatus> = {
  running: { shape: "play", tone: "busy" },
  passed: { shape: "check", tone: "good" },
  failed: { shape: "cross", tone: "bad" },
  skipped: { shape: "skip", tone: "muted" },
};

/** A step's state; a word that is not known as it is. */
export function StepBadge({ step: { status, otherStatus } }: { step: Pick<Step, "status" | "otherStatus"> }) {
  if (status !== null) return Badge({ ...STEP[status], said: t(`step.${status}`) });
  return Badge({ ...OTHER, said: otherStatus === null ? t("steps.noStatus") : oneLine(otherStatus, 40) || "“”" });
}

const SEVERITY: Looks<Alert["severity"]> = { warning: { shape: "alert", tone: "warn" }, critical: { shape: "cross", tone: "bad" } };

/** An alert's severity. One that is not known may be worse than those that are. */
export function alertLook(severity: string): Look {
  return { ...(own(SEVERITY, severity) ?? { shape: "cross", tone: "bad" }), said: word("severity", severity) };
}

/** What a rule of this severity came to. */
export function changeLook(state: Rule["state"], severity: string | undefined): Look {
  const looks: Looks<Rule["state"]> = {
    ok: { shape: "check", tone: "good" },
    pending: { shape: "ring", tone: "warn" },
    firing: { shape: "alert", tone: severity === "warning" ? "warn" : "bad" },
  };
  return { ...(own(looks, state) ?? { shape: "ring", tone: "warn" }), said: word("now.change", state) };
}

/** An agent that is silent for much longer than its pace. */
export function StallBadge() {
  return <span class="badge tone-warn" title={t("sessions.stalled.hint")}><Mark shape="alert" />{t("sessions.stalled")}</span>;
}
