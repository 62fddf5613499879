/** Tables that are asked by words from outside. */

/** The table's own value of a word; nothing for words such as "constructor", which every object answers to. */
export function own<T>(table: Readonly<Record<string, T>>, word: string): T | undefined {
  return Object.hasOwn(table, word) ? table[word] : undefined;
}
