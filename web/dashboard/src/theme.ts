/** Light or dark: as the system has it, until the reader chooses. */
import { signal } from "@preact/signals";

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEPT_AS = "agentbench.theme";

function first(): Theme {
  try {
    return THEMES.find((name) => name === localStorage.getItem(KEPT_AS)) ?? "auto";
  } catch {
    // No storage here: the system's choice does.
    return "auto";
  }
}

/** The reader's choice. */
export const theme = signal<Theme>(first());
/** Grows when the colours have changed: plots have to be drawn anew. */
export const colours = signal(0);

/** Puts the choice on the page. */
export function applyTheme(): void {
  document.documentElement.dataset.theme = theme.value;
  colours.value += 1;
}

/** Changes the theme, and keeps the choice. */
export function setTheme(name: Theme): void {
  theme.value = name;
  try {
    localStorage.setItem(KEPT_AS, name);
  } catch {
    // It holds for this page, then.
  }
  applyTheme();
}

/** Applies the theme, now and when the system changes its mind. */
export function followTheme(): void {
  applyTheme();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
}
