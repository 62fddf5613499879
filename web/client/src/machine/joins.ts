/** Joins: one for each session on each connection, anew whenever what is wanted of it has changed. */
import { ClientError } from "../outcome.js";
import type { SystemMessage } from "../protocol.js";
import { unexpected } from "../replies.js";
import { retryAt } from "./commands.js";
import type { Following } from "./follow.js";
import { type Fields, readJoined } from "./inbound.js";
import type { Participation, Waiter } from "./participation.js";
import type { Now } from "./settings.js";
import type { State } from "./state.js";

/** Asks for the join of a session. */
export function askJoin(state: State, now: Now, found: Participation): void {
  const { session } = found;
  const follow = found.wantedFollow();
  found.join = "asked";
  found.joinedFor = follow;
  const data = { command: "join_session", sessionId: session, follow: follow !== null, from: follow?.from() };
  state.sendCommand(now, data, (answer, at) => {
    // Otherwise the session was left meanwhile, and perhaps joined anew.
    if (state.participations.get(session) === found) answered(state, at, found, follow, answer);
  }, true);
}

function answered(state: State, now: Now, found: Participation, asked: Following | null, answer: SystemMessage | ClientError): void {
  if (answer instanceof ClientError) {
    const { refusal } = answer;
    if (!refusal?.retryable) return state.forsake(found, answer);
    found.join = "held";
    found.joinAgainAt = retryAt(state, now, found.joinRefusals, refusal);
    found.joinRefusals += 1;
    return;
  }
  const joined = readJoined(answer as unknown as Fields);
  if (!joined) return state.forsake(found, unexpected(answer.type, "session_joined"));
  found.join = "done";
  found.joinRefusals = 0;
  const { follow, waiters } = found;
  const item = follow && follow === asked ? follow.joined(joined) : null;
  if (follow && follow !== asked) follow.isLive = false;
  const isAnswered = ({ wants }: Waiter): boolean => wants === null || wants === asked;
  for (const waiter of waiters.filter(isAnswered)) {
    // Only the first one is progress: each new connection repeats it.
    state.attempt = 0;
    state.answer(waiter.answered, answer);
  }
  found.waiters = waiters.filter((waiter) => !isAnswered(waiter));
  if (follow && item) state.give(follow, item);
  state.attend(found);
}
