/** A list of sessions that is kept up to date: pages by cursor, and the first ones asked for again every few seconds. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { account } from "../api/account.js";
import { type Failure, asFailure } from "../api/failure.js";
import type { SessionQuery } from "../api/http.js";
import type { SessionInfo } from "../api/types.js";

/** Sessions of a page. */
const PAGE = 100;
/** Sessions of each page that follows: the most that a server gives. */
const NEXT_PAGE = 500;
/** Most sessions that are asked for again, ones further down stay as they were. */
const REFRESHED = 200;

export interface SessionList {
  sessions: SessionInfo[] | null;
  failure: Failure | null;
  hasMore: boolean;
  /** The next page is on its way. */
  isLoading: boolean;
  more: () => void;
}

/**
 * Puts the fresh first sessions of a list in the place of the old ones. What was listed behind the last of them stays: its
 * place in the old list tells, and not its time, since many can be of the same ms.
 */
export function merge(fresh: readonly SessionInfo[], old: readonly SessionInfo[], isWhole: boolean): SessionInfo[] {
  if (isWhole) return [...fresh];
  const known = new Set(fresh.map((session) => session.sessionId));
  const last = old.findIndex((session) => session.sessionId === fresh.at(-1)?.sessionId);
  return [...fresh, ...old.slice(last + 1).filter((session) => !known.has(session.sessionId))];
}

/** The sessions that fit a query. */
export function useSessions(query: SessionQuery, every: number): SessionList {
  const api = account.value?.api;
  const [sessions, setSessions] = useState<SessionInfo[] | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [cursor, setCursor] = useState<string | null>(null);
  const [isLoading, setLoading] = useState(false);
  /** The cursor of the page that was asked for last. */
  const asked = useRef<string | null>(null);
  const name = JSON.stringify(query);
  const wanted = useRef(name);
  wanted.current = name;
  const count = useRef(0);
  count.current = sessions?.length ?? 0;

  useEffect(() => {
    if (!api) return undefined;
    const stop = new AbortController();
    let isAsking = false;
    asked.current = null;
    const ask = async (isFirst: boolean): Promise<void> => {
      if (isAsking || (document.hidden && !isFirst)) return;
      isAsking = true;
      try {
        const limit = isFirst ? PAGE : Math.min(Math.max(count.current, PAGE), REFRESHED);
        const page = await api.sessions({ ...query, limit }, stop.signal);
        const next = page.nextCursor ?? null;
        setSessions((old) => merge(page.sessions, isFirst ? [] : (old ?? []), next === null));
        if (isFirst || next === null || count.current <= limit) setCursor(next);
        setFailure(null);
      } catch (error) {
        if (!stop.signal.aborted) setFailure(asFailure(error));
      } finally {
        isAsking = false;
      }
    };
    // Typing asks once, when it rests.
    const begin = setTimeout(() => void ask(true), 120);
    const timer = setInterval(() => void ask(false), every);
    return () => {
      clearTimeout(begin);
      clearInterval(timer);
      stop.abort();
    };
  }, [api, name, every]);

  const more = useCallback(() => {
    if (!api || cursor === null || asked.current === cursor) return;
    asked.current = cursor;
    setLoading(true);
    api.sessions({ ...query, limit: NEXT_PAGE, cursor }).then((page) => {
      // Meanwhile something else was asked for.
      if (asked.current !== cursor || wanted.current !== name) return;
      setSessions((old) => {
        const known = new Set(old?.map((session) => session.sessionId));
        return [...(old ?? []), ...page.sessions.filter((session) => !known.has(session.sessionId))];
      });
      setCursor(page.nextCursor ?? null);
    }, async (error: unknown) => {
      setFailure(asFailure(error));
      // Whoever stands at the end asks again by itself, but not at once.
      await new Promise((resolve) => setTimeout(resolve, every));
    }).finally(() => {
      // A look at the first sessions may have set the cursor back meanwhile: then the same page is asked for again.
      if (asked.current === cursor) asked.current = null;
      setLoading(false);
    });
    // With every end of loading it is another function: who is told of it and still stands at the end calls it again.
  }, [api, name, cursor, isLoading]);

  return { sessions, failure, hasMore: cursor !== null, isLoading, more };
}
