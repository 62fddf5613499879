/** What the client does in one session: it publishes, follows, or both, over one join per connection. */
import type { Following, StartAt } from "./follow.js";
import { Outbox } from "./outbox.js";
/** Where the join stands on the current connection. */
export type Join = 
/** Not asked for. */
{
    is: "no";
}
/** Asked for; `follow` is for whom events were asked for, `number` the command's, 0 until it is sent. */
 | {
    is: "asked";
    follow: number | null;
    number: number;
}
/** Refused for now, to be asked for again then. */
 | {
    is: "held";
    until: number;
}
/** Answered; `follow` is who gets the events. */
 | {
    is: "done";
    follow: number | null;
};
/** Somebody who waits for the join. */
export interface Waiter {
    readonly key: number;
    readonly deadline: number;
    /** The follow that it waits for; `null` if any join will do. */
    readonly follow: number | null;
}
/** One session's state. */
export declare class Participation {
    readonly session: string;
    join: Join;
    /** Refusals of the join in a row. */
    joinRefusals: number;
    /** The user wants to publish, now or later. */
    publisher: boolean;
    follow: Following | null;
    waiters: Waiter[];
    readonly outbox: Outbox;
    /** In the machine's list of sessions with something to send. */
    isListed: boolean;
    constructor(session: string);
    /** Whether a join has to be asked for on a connection that is ready. */
    needsJoin(): boolean;
    /** The follow that events are wanted for. */
    wantedFollow(): number | null;
    isWanted(): boolean;
    /** What to ask for. */
    wanted(): {
        follow: boolean;
        from: StartAt;
    };
    /** Whether events may be sent now. */
    canPublish(window: number): boolean;
}
