/** The socket's commands over HTTP, as far as they exist there. Each gives the data of its reply. */
import type { Envelope, SessionInfo, SystemMessage } from "../protocol.js";
import { type Api, Refusal, timeIn, Unusable } from "./api.js";

/** A command's content. */
export type Command = { command: string } & Record<string, unknown>;
type Reply = Record<string, unknown> & { type: SystemMessage["type"] };

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The address of a session. */
export function pathOf(session: unknown): string {
  return `api/v1/sessions/${encodeURIComponent(textOf(session))}`;
}

/** Joins as a publisher: over HTTP nobody need join, but whether the session is there has to be known. */
export async function joinAsPublisher(api: Api, { sessionId }: Command): Promise<Reply> {
  const session = (await api.json(pathOf(sessionId))) as unknown as SessionInfo;
  const { epoch, headSeq } = session;
  return { type: "session_joined", sessionId, epoch, headSeq, from: { epoch, seq: headSeq }, recovered: true, session };
}

/** Everything but joins. Throws `Refusal` for what is not there. */
export async function carryOut(api: Api, id: string, command: Command): Promise<Reply> {
  switch (command.command) {
    case "create_session":
      return post(api, id, "api/v1/sessions", command, ["projectId", "testId", "agentName", "metadata"]);
    case "start_test":
    case "pause_test":
    case "resume_test":
    case "stop_test":
      return post(api, id, `${pathOf(command.sessionId)}/commands`, command, ["command", "outcome", "reason"]);
    case "leave_session":
      // Over HTTP its stream is all that a participant has there.
      return { type: "session_left", sessionId: command.sessionId };
    case "get_session_info":
      return { type: "session_info", session: await api.json(pathOf(command.sessionId)) };
    case "get_session_list":
      return { ...(await api.json(`api/v1/sessions?${listQuery(command)}`)), type: "session_list" };
    case "get_history":
      return history(api, command);
    case "refresh_token": {
      const token = textOf(command.token);
      await api.check(token);
      api.token = token;
      return { type: "token_refreshed", tokenExpiresAt: timeIn(token, "exp") };
    }
    default:
      throw notThere(command);
  }
}

function notThere({ command }: Command): Refusal {
  const error = `${command} is not there over HTTP, and WebSockets do not get through here: use it from where they do`;
  return new Refusal(404, { error, code: "unknown_command", retryable: false });
}

/**
 * Posts a command under its id, so that a repeat has no second effect, with those of its fields. The answer is the reply's
 * data.
 */
async function post(api: Api, id: string, path: string, command: Command, names: string[]): Promise<Reply> {
  const body = JSON.stringify({ id, ...Object.fromEntries(names.map((name) => [name, command[name]])) });
  try {
    return (await api.json(path, { method: "POST", headers: { "Content-Type": "application/json" }, body })) as Reply;
  } catch (error) {
    // An older server knows the address not at all, or not for posting.
    const isOlder = (error instanceof Refusal && error.data.code === "not_found") ||
      ((error instanceof Refusal || error instanceof Unusable) && error.status === 405) || (error instanceof Unusable && error.status === 404);
    throw isOlder ? notThere(command) : error;
  }
}

function listQuery(command: Command): string {
  const query = new URLSearchParams();
  for (const name of ["status", "projectId", "limit", "cursor", "q"]) {
    const value = command[name];
    if (typeof value === "string" || typeof value === "number") query.set(name, String(value));
  }
  return query.toString();
}

async function history(api: Api, { sessionId, fromSeq, limit }: Command): Promise<Reply> {
  const [from, most] = [Number(fromSeq ?? 1), Number(limit ?? 1000)];
  const response = await api.ask(`${pathOf(sessionId)}/events?fromSeq=${from}&limit=${most}`);
  const head = Number(response.headers.get("agentbench-head-seq") ?? 0);
  const lines = (await response.text()).split("\n").filter((line) => line !== "");
  const events = lines.map((line) => JSON.parse(line) as Envelope).filter(({ seq }) => seq !== undefined);
  const next = from + most;
  return { type: "session_history", sessionId, events, ...(next <= head && { nextSeq: next }) };
}
