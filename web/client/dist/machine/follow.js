/**
 * Holes that are remembered; of a server that breaks the order more often than this, later ones are told as holes
 * only.
 */
const MAX_HOLES = 64;
/** One follow. */
export class Following {
    key;
    #start;
    /** Everything up to its seq is with the user. Known from the first join on. */
    #place = null;
    /** Ranges that were left out without a word: they may still come, too late. */
    #holes = [];
    /** Whether the current connection delivers to it. */
    isLive = false;
    /** Whether its reader has more than enough: it gets nothing until there is room. */
    isPaused = false;
    /** The next join is only the end of a pause. */
    #afterPause = false;
    constructor(key, start) {
        this.key = key;
        this.#start = start;
    }
    /** What to ask for in the next join. */
    from() {
        return this.#place ? { ...this.#place } : this.#start;
    }
    /** Nothing more is taken until a join is answered that was asked for after the pause; the place stays where it is. */
    pause() {
        this.isPaused = true;
        this.#afterPause ||= this.isLive;
        this.isLive = false;
    }
    /** There is room again. */
    unpause() {
        this.isPaused = false;
    }
    /** Whether what arrives is left for later. */
    get isHeld() {
        return this.isPaused || this.#afterPause;
    }
    /** The connection is gone, and with it the deliveries. Tells whether there were any. */
    connectionLost() {
        const was = this.isLive;
        this.isLive = false;
        // What the user was not told needs no word when it is over.
        if (was)
            this.#afterPause = false;
        return was;
    }
    /** The join was answered. Gives what the user has to know, if it is not the first one. */
    joined(joined) {
        this.isLive = !this.isPaused;
        const isFirst = this.#place === null;
        const was = this.#place ?? (typeof this.#start === "string" ? null : this.#start);
        const isQuiet = this.#afterPause;
        this.#afterPause = this.isPaused;
        if (was && joined.recovered) {
            // The server need not repeat the id that it has checked.
            this.#place = was;
            return isQuiet ? null : { type: "resumed", from: { ...was }, headSeq: joined.headSeq };
        }
        this.#place = { ...joined.from };
        this.#holes = [];
        if (isFirst && !was)
            return null;
        return was && { type: "notRecovered", reason: joined.reason ?? null, was: { ...was }, from: { ...joined.from } };
    }
    /** An entry of the log arrived; `id` is its id. */
    arrived(seq, id) {
        if (!this.#place)
            return { is: "repeat" };
        if (seq <= this.#place.seq)
            return { is: this.#fill(seq) ? "late" : "repeat" };
        const expected = this.#place.seq + 1;
        this.#place = { epoch: this.#place.epoch, seq, lastId: id };
        return seq === expected ? { is: "next" } : { is: "hole", violation: this.#hole(expected, seq) };
    }
    /** A gap was said. Gives the hole that it leaves before it, if there is one. */
    skipped(gap) {
        // These are about the history that the reader had; where it goes on, the join has said.
        if (gap.cause === "epoch" || gap.cause === "diverged")
            return null;
        if (!this.#place || gap.to <= this.#place.seq)
            return null;
        const expected = this.#place.seq + 1;
        this.#place = { epoch: this.#place.epoch, seq: gap.to };
        return gap.from > expected ? this.#hole(expected, gap.from) : null;
    }
    #hole(expected, got) {
        if (this.#holes.length < MAX_HOLES)
            this.#holes.push([expected, got - 1]);
        return { type: "violation", expected, got };
    }
    /** Whether a seq was missing. Then it is not any more. */
    #fill(seq) {
        const index = this.#holes.findIndex(([from, to]) => from <= seq && seq <= to);
        const hole = this.#holes[index];
        if (!hole)
            return false;
        const left = [[hole[0], seq - 1], [seq + 1, hole[1]]];
        this.#holes.splice(index, 1, ...left.filter(([from, to]) => from <= to));
        return true;
    }
}
//# sourceMappingURL=follow.js.map