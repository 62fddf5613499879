import { Outbox } from "./outbox.js";
/** One session's state. */
export class Participation {
    session;
    join = { is: "no" };
    /** Refusals of the join in a row. */
    joinRefusals = 0;
    /** The user wants to publish, now or later. */
    publisher = false;
    follow = null;
    waiters = [];
    outbox = new Outbox();
    /** In the machine's list of sessions with something to send. */
    isListed = false;
    constructor(session) {
        this.session = session;
    }
    /** Whether a join has to be asked for on a connection that is ready. */
    needsJoin() {
        if (this.join.is === "no")
            return this.isWanted();
        return this.join.is === "done" && this.join.follow !== this.wantedFollow();
    }
    /** The follow that events are wanted for. */
    wantedFollow() {
        return this.follow && !this.follow.isPaused ? this.follow.key : null;
    }
    isWanted() {
        return this.publisher || this.follow !== null || this.outbox.size > 0;
    }
    /** What to ask for. */
    wanted() {
        return this.follow && !this.follow.isPaused ? { follow: true, from: this.follow.from() } : { follow: false, from: "live" };
    }
    /** Whether events may be sent now. */
    canPublish(window) {
        return this.join.is === "done" && this.outbox.isReady(window);
    }
}
//# sourceMappingURL=participation.js.map