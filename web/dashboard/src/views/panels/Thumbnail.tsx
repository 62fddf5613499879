/** A piece of evidence as a small picture, or as a card that says what it is. Opens the full view. */
import { useEffect, useRef, useState } from "preact/hooks";
import { type Failure, asFailure } from "../../api/failure.js";
import type { Piece } from "../../live/evidence.js";
import { bytes, oneLine } from "../../text/format.js";
import { t } from "../../text/index.js";
import type { Evidence } from "../../timeline/derive.js";
import { sentence } from "../../api/failure.js";
import type { SessionState } from "../session-state.js";

/** What is known of a piece's bytes. */
export interface Shown {
  url: string | null;
  piece: Piece | null;
  failure: Failure | null;
}

/** Fetches a piece when it is wanted; `look` only asks whether it is there. */
export function usePiece(evidence: Evidence, state: SessionState, isWanted: boolean, look = false): Shown {
  const [shown, setShown] = useState<Shown>({ url: null, piece: null, failure: null });
  const { place } = evidence;
  const name = place?.in === "store" ? place.hash : (place?.url ?? "");
  useEffect(() => {
    if (!isWanted || place === null) return undefined;
    if (place.in === "event") {
      setShown({ url: place.url, piece: null, failure: null });
      return undefined;
    }
    let isGone = false;
    const asked: Promise<Piece | null> = look ? state.model.shelf.look(place.hash).then(() => null) : state.model.shelf.get(evidence);
    asked.then(
      (piece) => !isGone && setShown({ url: piece?.url ?? null, piece, failure: null }),
      (error: unknown) => !isGone && setShown({ url: null, piece: null, failure: asFailure(error) }),
    );
    return () => {
      isGone = true;
    };
  }, [name, isWanted]);
  return shown;
}

/** Why a piece cannot be shown. */
export function whyNot(evidence: Evidence, { failure }: Shown, state: SessionState): string | null {
  const { place } = evidence;
  if (place === null) return t("evidence.damaged", { named: oneLine(evidence.named, 80) });
  if (!failure) return null;
  if (state.model.exportedAt === null && failure.code === "not_found" && place.in === "store") return t("evidence.absent", { hash: `${place.hash.slice(0, 12)}…` });
  return state.model.exportedAt !== null ? t("evidence.notExported") : t("evidence.failed", { why: sentence(failure) });
}

export function Thumbnail({ evidence, state, number }: { evidence: Evidence; state: SessionState; number: number }) {
  const box = useRef<HTMLButtonElement>(null);
  const [isSeen, setSeen] = useState(false);
  const isImage = evidence.showing === "image";
  const shown = usePiece(evidence, state, isSeen, !isImage);
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) setSeen(true);
    }, { rootMargin: "200px" });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const caption = oneLine(evidence.caption, 80) || t("evidence.untitled");
  const problem = whyNot(evidence, shown, state);
  return (
    <button ref={box} type="button" class="thumb" aria-label={t("evidence.open", { n: number, caption })} onClick={() => { state.viewed.value = evidence.seq; }}>
      <span class="thumb-image">
        {shown.url !== null && isImage && problem === null ? <img src={shown.url} alt="" /> : <span class="muted small">{problem ?? (isImage ? t("evidence.loading") : oneLine(evidence.contentType, 60) || t("evidence.noType"))}</span>}
      </span>
      <span class="thumb-caption"><bdi>{caption}</bdi>{evidence.size !== null && <span class="muted number small">{bytes(evidence.size)}</span>}</span>
    </button>
  );
}
