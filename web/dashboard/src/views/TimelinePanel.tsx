/** The events of a session as they arrive, with search and filters. */
import { signal } from "@preact/signals";
import type { RefObject } from "preact";
import { useMemo } from "preact/hooks";
import { hasEnded } from "../live/model.js";
import { Mark } from "../parts/Badge.js";
import { Empty } from "../parts/Bits.js";
import { VirtualList } from "../parts/VirtualList.js";
import { clock, whole } from "../text/format.js";
import { locale, t } from "../text/index.js";
import { describe, word } from "../timeline/describe.js";
import { type Gap, KINDS } from "../timeline/entry.js";
import type { SessionState } from "./session-state.js";

/** Height of a row, px; the style sheet has the same. */
const ROW = 30;

/** A gap in words. */
export function gapText(gap: Gap): string {
  const cause = word("gap", gap.cause);
  return gap.from === gap.to
    ? t("timeline.gap.one", { from: gap.from, cause })
    : t("timeline.gap", { from: gap.from, to: gap.to, cause });
}

function Row({ state, seq }: { state: SessionState; seq: number }) {
  const { timeline, changed } = state.model;
  // A row whose properties stay the same is drawn again only for what it reads: a gap may have been loaded.
  void changed.value;
  const entry = timeline.get(seq);
  if (!entry) {
    const gap = timeline.gapAt(seq);
    if (gap) return <span class="event gap tone-warn" data-gap={`${gap.from}-${gap.to}`}><Mark shape="alert" />{gapText(gap)}</span>;
    return <span class="event waiting"><span class="seq number">{seq}</span><span class="muted">…</span></span>;
  }
  const { title, detail, tone, marks } = describe(entry);
  return (
    <span class={`event tone-${tone}`} data-seq={seq}>
      <span class="seq number">{seq}</span>
      <time class="number">{clock(entry.at)}</time>
      <span class={`kind kind-${entry.kind}`}>{t(`row.${entry.kind}`)}</span>
      <span class="said"><bdi class="title">{title}</bdi>{detail !== "" && <bdi class="detail">{detail}</bdi>}{marks.map((mark) => <span key={mark} class="unreadable detail"><Mark shape="alert" /><bdi>{mark}</bdi></span>)}</span>
    </span>
  );
}

function Filters({ state, search }: { state: SessionState; search: RefObject<HTMLInputElement | null> }) {
  const { timeline, changed } = state.model;
  void changed.value;
  const chosen = state.kinds.value;
  const present = KINDS.filter((kind) => timeline.of(kind).length > 0 || chosen.has(kind));
  return (
    <div class="timeline-filters">
      <input ref={search} type="search" aria-label={t("timeline.search")} placeholder={`${t("timeline.search")}  ( / )`} value={state.text.value} onInput={(event) => { state.text.value = event.currentTarget.value; }} />
      <div class="chips" role="group" aria-label={t("timeline.filters")}>
        {present.map((kind) => (
          <button key={kind} type="button" class="chip" aria-pressed={chosen.has(kind)} onClick={() => state.toggleKind(kind)}>
            <span class={`dot kind-${kind}`} aria-hidden="true" />{t(`kind.${kind}`)} <span class="number muted">{whole(timeline.of(kind).length, locale.value)}</span>
          </button>
        ))}
      </div>
    </div>
  );
}

function LoadedNote({ state }: { state: SessionState }) {
  const { timeline, changed } = state.model;
  const loading = useMemo(() => signal<number | null>(null), [state]);
  /** Everything was asked for, and this is as much as a page can hold. */
  const isAll = useMemo(() => signal(false), [state]);
  void changed.value;
  const known = timeline.gaps.reduce((sum, gap) => sum + gap.to - gap.from + 1, timeline.size);
  if (known >= timeline.head) return null;
  const isFull = isAll.value;
  const load = async (): Promise<void> => {
    loading.value = 0;
    const asked = { isStopped: false };
    try {
      await state.model.loadAll((loaded, total) => {
        asked.isStopped = loading.value === null;
        if (loading.value === null) return false;
        loading.value = Math.floor((loaded / Math.max(total, 1)) * 100);
        return true;
      });
      isAll.value = !asked.isStopped;
    } catch {
      // The time line keeps what it has, and the button is there again.
    } finally {
      loading.value = null;
    }
  };
  return (
    <p class="loaded muted small">
      {t(isFull ? "timeline.full" : "timeline.loaded", { loaded: whole(timeline.size, locale.value), total: whole(timeline.head, locale.value) })}
      {!isFull && (loading.value === null
        ? <button type="button" class="button tiny" onClick={load}>{t("timeline.loadAll")}</button>
        : <button type="button" class="button tiny" onClick={() => { loading.value = null; }}>{t("timeline.loadingAll", { percent: loading.value })} · {t("timeline.stop")}</button>)}
    </p>
  );
}

export function TimelinePanel({ state, search }: { state: SessionState; search: RefObject<HTMLInputElement | null> }) {
  const rows = state.rows.value;
  void state.model.changed.value;
  const chosen = state.chosen.value;
  const isFiltered = state.kinds.value.size > 0 || state.text.value.trim() !== "";
  const isOver = hasEnded(state.model.info.value);
  const row = chosen === null ? -1 : rows.rowOf(chosen);
  return (
    <section class="timeline" aria-label={t("tab.timeline")}>
      <Filters state={state} search={search} />
      <LoadedNote state={state} />
      {rows.count === 0 && <Empty>{isFiltered ? t("timeline.none") : t("timeline.empty")}</Empty>}
      <VirtualList
        label={t("timeline.label")} rows={rows.count} rowHeight={ROW} chosen={state.isInRow(row) ? row : -1} near={row} revealed={state.revealed.value}
        sticks={state.sticks.value && !state.playing.value}
        keyOf={(at) => rows.seqAt(at)}
        render={(at) => <Row state={state} seq={rows.seqAt(at)} />}
        onChoose={(at) => {
          state.sticks.value = false;
          state.choose(rows.seqAt(at), false);
        }}
        onSeen={(first, end) => {
          if (end <= first) return;
          const [from, to] = [rows.seqAt(first), rows.seqAt(end - 1)];
          state.model.timeline.look(from, to);
          if (!isFiltered) state.model.want(from, to);
        }}
        onScrolled={(isAtEnd) => { state.sticks.value = isAtEnd; }}
      />
      {!state.sticks.value && !state.playing.value && state.model.actions && (
        <button type="button" class="button to-end" onClick={() => { state.sticks.value = true; }}>{t(isOver ? "timeline.toEnd" : "timeline.follow")}</button>
      )}
    </section>
  );
}
