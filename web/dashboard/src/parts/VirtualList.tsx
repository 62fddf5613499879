/** A list of any length that only has the rows that are seen. A listbox: one row is chosen, and focus stays on the list. */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { type Window, reveal, windowOf } from "../timeline/window.js";

const OVERSCAN = 8;

export interface VirtualListProps {
  /** Name for screen readers. */
  label: string;
  rows: number;
  rowHeight: number;
  /** The row that is chosen; -1 for none. */
  chosen: number;
  /** The row to bring into sight: the chosen one, or the nearest before it where a filter hides that; -1 for none. */
  near: number;
  /** Grows when that row is to be brought into sight. */
  revealed: number;
  /** Stays at the end while rows are added. */
  sticks: boolean;
  render: (row: number) => ComponentChildren;
  /** A stable name of a row. */
  keyOf: (row: number) => string | number;
  onChoose: (row: number) => void;
  /** Rows in sight. */
  onSeen: (first: number, end: number) => void;
  /** The reader scrolled: whether the end is in sight. */
  onScrolled: (isAtEnd: boolean) => void;
}

export function VirtualList(props: VirtualListProps) {
  const { rows, rowHeight } = props;
  const box = useRef<HTMLDivElement>(null);
  const [place, setPlace] = useState({ scrollTop: 0, viewport: 600 });
  // Where we have scrolled to ourselves: the event that follows is not the reader's doing.
  const own = useRef(-1);
  const list = { rows, rowHeight, ...place };
  const seen: Window = windowOf({ ...list, overscan: OVERSCAN });

  const move = (scrollTop: number): void => {
    const element = box.current;
    if (!element || Math.abs(element.scrollTop - scrollTop) < 1) return;
    element.scrollTop = scrollTop;
    own.current = element.scrollTop;
    setPlace({ scrollTop: element.scrollTop, viewport: element.clientHeight });
  };

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const measure = (): void => setPlace({ scrollTop: element.scrollTop, viewport: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    if (props.sticks) move(Math.max(seen.height - place.viewport, 0));
  }, [props.sticks, rows, place.viewport]);

  useLayoutEffect(() => {
    if (props.near >= 0 && props.revealed > 0 && box.current) {
      move(reveal(props.near, { rows, rowHeight, viewport: box.current.clientHeight, scrollTop: box.current.scrollTop }));
    }
  }, [props.near, props.revealed]);

  useLayoutEffect(() => {
    props.onSeen(seen.first, seen.end);
  }, [seen.first, seen.end, rows]);

  const scrolled = (): void => {
    const element = box.current;
    if (!element) return;
    setPlace({ scrollTop: element.scrollTop, viewport: element.clientHeight });
    if (Math.abs(own.current - element.scrollTop) < 1) return;
    own.current = -1;
    props.onScrolled(element.scrollTop + element.clientHeight >= element.scrollHeight - rowHeight / 2);
  };

  const drawn = Array.from({ length: seen.end - seen.first }, (_, index) => seen.first + index);
  const isChosenDrawn = props.chosen >= seen.first && props.chosen < seen.end;
  return (
    <div
      ref={box} class="vlist" role="listbox" tabIndex={0} aria-label={props.label} onScroll={scrolled}
      {...(isChosenDrawn && { "aria-activedescendant": `row-${props.chosen}` })}
    >
      <div class="vlist-inner" role="presentation" style={{ height: `${seen.height}px` }}>
        {drawn.map((row, index) => (
          <div
            key={props.keyOf(row)} id={`row-${row}`} role="option" class="vrow" aria-selected={row === props.chosen} aria-setsize={rows} aria-posinset={row + 1}
            style={{ top: `${seen.offset + index * rowHeight}px`, height: `${rowHeight}px` }} onClick={() => props.onChoose(row)}
          >
            {props.render(row)}
          </div>
        ))}
      </div>
    </div>
  );
}
