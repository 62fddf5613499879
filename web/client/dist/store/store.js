/**
 * What a durable outbox needs from the place where it lies. One client at a time owns it: the last one that opened it.
 *
 * ```text
 *   publish ─► append ─► (durable) ─► sent ─► acked ─► remove
 *                 │
 *                 └─ after a reload or a crash: open gives what was not removed, in order
 * ```
 */
export {};
//# sourceMappingURL=store.js.map