/** The texts in the reader's language: the browser's choice, until the reader makes one. */
import { computed, signal } from "@preact/signals";
import { type TextKey, type Texts, en } from "./en.js";
import { zh } from "./zh.js";

export type { TextKey } from "./en.js";

/** The languages that there are. */
export const LANGUAGES = { en: "English", zh: "中文" } as const;
export type Language = keyof typeof LANGUAGES;

const TEXTS: Record<Language, Texts> = { en, zh };
const KEPT_AS = "agentbench.language";

function isLanguage(name: string | null): name is Language {
  return name !== null && Object.hasOwn(LANGUAGES, name);
}

function baseOf(tag: string): string {
  return tag.toLowerCase().split("-")[0] ?? "";
}

/** The first of the browser's languages that there are texts in. */
export function choose(preferred: readonly string[]): Language {
  for (const name of preferred) {
    const base = baseOf(name);
    if (isLanguage(base)) return base;
  }
  return "en";
}

/** How the reader writes numbers and dates in a language: "en-GB", if that is the English that the browser names first. */
export function localeOf(name: Language, preferred: readonly string[]): string {
  // Some browsers have told what is no tag ("en-US@posix"), which formatting refuses.
  return preferred.find((tag) => baseOf(tag) === name && /^[\w-]+$/.test(tag)) ?? name;
}

function preferences(): readonly string[] {
  return typeof navigator === "undefined" ? [] : navigator.languages;
}

function kept(): string | null {
  try {
    return localStorage.getItem(KEPT_AS);
  } catch {
    // No storage here (a file, a private window): the browser's choice does.
    return null;
  }
}

function first(): Language {
  const before = kept();
  if (isLanguage(before)) return before;
  return choose(preferences());
}

/** The language of the pages now. */
export const language = signal<Language>(first());

/** The language with its country, for numbers and dates. */
export const locale = computed(() => localeOf(language.value, preferences()));

/** Changes the language, and keeps the choice. */
export function setLanguage(name: Language): void {
  language.value = name;
  try {
    localStorage.setItem(KEPT_AS, name);
  } catch {
    // It holds for this page, then.
  }
}

/** Puts values into the braces of a text. */
export function fill(text: string, values: Record<string, string | number>): string {
  return text.replaceAll(/\{(\w+)\}/g, (brace, name: string) => (Object.hasOwn(values, name) ? String(values[name]) : brace));
}

/** A text in the language of the pages. */
export function t(key: TextKey, values?: Record<string, string | number>): string {
  const text = TEXTS[language.value][key];
  return values ? fill(text, values) : text;
}
