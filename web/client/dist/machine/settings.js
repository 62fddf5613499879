/** The wait before retry number `attempt` (0 for the first), ms. `random` is in [0, 1). */
export function delay(backoff, attempt, random) {
    return Math.min(backoff.base * 2 ** Math.min(attempt, 32), backoff.max) * random;
}
//# sourceMappingURL=settings.js.map