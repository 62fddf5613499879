/** Waits for something that has no promise of its own. */

/** Most looks, 10 ms apart: a guard against hangs. */
const LOOKS = 3000;

/** Resolves with the first value that is not `undefined`, `null` or `false`. */
export async function until<T>(what: string, look: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (let turn = 0; turn < LOOKS; turn += 1) {
    const found = await look();
    if (found !== undefined && found !== null && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never came: ${what}`);
}
