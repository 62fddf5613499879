/**
 * Which rows of a long list are to be drawn, and where. Rows have one height. Browsers cannot scroll heights beyond some
 * millions of pixels, so a longer list is squeezed into the highest one that they can: then a pixel of the bar stands for
 * more than a pixel of the list.
 */

/** Highest that the scrolled content gets, px. */
export const TALLEST = 8_000_000;

/** The list as it is scrolled. */
export interface Scrolled {
  rows: number;
  rowHeight: number;
  /** Height of what is seen, px. */
  viewport: number;
  /** The browser's scroll position, px. */
  scrollTop: number;
  /** Rows drawn beyond what is seen, on each side. */
  overscan: number;
}

/** What is drawn. */
export interface Window {
  /** First row. */
  first: number;
  /** The row behind the last. */
  end: number;
  /** Where the first row begins in the scrolled content, px. */
  offset: number;
  /** Height of the scrolled content, px. */
  height: number;
}

function heights(list: Omit<Scrolled, "scrollTop" | "overscan">): { real: number; shown: number; realRoom: number; shownRoom: number } {
  const real = list.rows * list.rowHeight;
  const shown = Math.min(real, TALLEST);
  return { real, shown, realRoom: Math.max(real - list.viewport, 0), shownRoom: Math.max(shown - list.viewport, 0) };
}

/** What is to be drawn. */
export function windowOf(list: Scrolled): Window {
  const { shown, realRoom, shownRoom } = heights(list);
  const scrollTop = Math.min(Math.max(list.scrollTop, 0), shownRoom);
  const place = shownRoom === 0 ? 0 : scrollTop * (realRoom / shownRoom);
  const top = Math.floor(place / list.rowHeight);
  const seen = Math.ceil(list.viewport / list.rowHeight) + 1;
  const first = Math.max(top - list.overscan, 0);
  const end = Math.min(top + seen + list.overscan, list.rows);
  return { first, end: Math.max(end, first), offset: scrollTop - place + first * list.rowHeight, height: shown };
}

/** The scroll position at which a row is at the top. */
export function scrollTo(row: number, list: Omit<Scrolled, "scrollTop" | "overscan">): number {
  const { realRoom, shownRoom } = heights(list);
  const place = Math.min(Math.max(row * list.rowHeight, 0), realRoom);
  return realRoom === 0 ? 0 : place * (shownRoom / realRoom);
}

/** The scroll position that brings a row into sight with the least movement; the present one if it is in sight. */
export function reveal(row: number, list: Omit<Scrolled, "overscan">): number {
  const { realRoom, shownRoom } = heights(list);
  if (realRoom === 0) return 0;
  const place = Math.min(Math.max(list.scrollTop, 0), shownRoom) * (realRoom / shownRoom);
  const top = row * list.rowHeight;
  if (top < place) return scrollTo(row, list);
  const bottom = top + list.rowHeight - list.viewport;
  return bottom > place ? Math.min(bottom, realRoom) * (shownRoom / realRoom) : list.scrollTop;
}
