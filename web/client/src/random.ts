/** Randomness that nobody can foresee; also where `crypto.randomUUID` is missing, as in pages without TLS. */

/** Evenly spread over [0, 1). */
export function random(): number {
  const [value = 0] = crypto.getRandomValues(new Uint32Array(1));
  return value / 2 ** 32;
}

/** 16 hexadecimal digits from a source of random numbers. */
export function digits16(source: () => number): string {
  const half = (): string => source().toString(16).slice(2, 10).padEnd(8, "0");
  return half() + half();
}

/** A name that nothing else has. */
export function randomName(): string {
  return digits16(random) + digits16(random);
}
