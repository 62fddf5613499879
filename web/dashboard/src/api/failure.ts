/** Why something did not work, with a code, and as a sentence in the reader's language. */
import { ClientError } from "@agentbench/client";
import { type TextKey, t } from "../text/index.js";

/** A refusal of the server, or no answer at all. */
export class Failure extends Error {
  override readonly name = "Failure";
  /** The protocol's code; `network` without an answer, `unexpected` for one that cannot be read. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const SENTENCES: Readonly<Record<string, TextKey>> = {
  network: "error.network",
  unexpected: "error.unexpected",
  not_authenticated: "error.not_authenticated",
  forbidden: "error.forbidden",
  session_not_found: "error.session_not_found",
  session_closed: "error.session_closed",
  invalid_transition: "error.invalid_transition",
  rate_limited: "error.rate_limited",
  overloaded: "error.overloaded",
  log_unavailable: "error.log_unavailable",
  not_found: "error.not_found",
};

/** Any error as a failure. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof ClientError && error.refusal) return new Failure(error.refusal.code, error.refusal.error);
  return new Failure("other", error instanceof Error ? error.message : String(error));
}

/** A failure in the reader's words. */
export function sentence(failure: Failure): string {
  const key = SENTENCES[failure.code];
  return key ? t(key) : t("error.other", { why: failure.message });
}
