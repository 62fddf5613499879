/** Which rows of a long list in the page are in sight: only these are drawn. Rows have one height, the page scrolls. */
import type { RefObject } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";

/** Rows drawn beyond what is seen, on each side. */
const OVERSCAN = 8;

/** The rows to draw, and the room that the others take, px. */
export interface InSight {
  first: number;
  end: number;
  above: number;
  below: number;
}

/** What is in sight of `count` rows, of which the first begins `top` px below the window's upper edge. */
export function inSight(count: number, rowHeight: number, top: number, viewport: number): InSight {
  const first = Math.min(Math.max(Math.floor(-top / rowHeight) - OVERSCAN, 0), count);
  const end = Math.min(Math.max(Math.ceil((viewport - top) / rowHeight) + OVERSCAN, first), count);
  return { first, end, above: first * rowHeight, below: (count - end) * rowHeight };
}

/** The rows of the box that are in sight, kept up to date. The box's rows begin at its upper edge. */
export function useRowsInSight(box: RefObject<HTMLElement | null>, count: number, rowHeight: number): InSight {
  const [place, setPlace] = useState({ top: 0, viewport: 900 });
  useLayoutEffect(() => {
    const measure = (): void => {
      const top = Math.round(box.current?.getBoundingClientRect().top ?? 0);
      setPlace((before) => (before.top === top && before.viewport === innerHeight ? before : { top, viewport: innerHeight }));
    };
    measure();
    addEventListener("scroll", measure, { passive: true });
    addEventListener("resize", measure);
    return () => {
      removeEventListener("scroll", measure);
      removeEventListener("resize", measure);
    };
  }, [count, rowHeight]);
  return inSight(count, rowHeight, place.top, place.viewport);
}
