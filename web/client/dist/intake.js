import { ClientError, hasEnded } from "./outcome.js";
/** Events that wait for the outbox. */
export class Intake {
    #waiting = [];
    #promised = { messages: 0, bytes: 0 };
    #isWriting = false;
    #machine;
    #driver;
    #store;
    #mayWait;
    constructor(machine, driver, store, mayWait) {
        this.#machine = machine;
        this.#driver = driver;
        this.#store = store;
        this.#mayWait = mayWait;
    }
    /** Whether nothing is on its way. */
    get isEmpty() {
        return this.#waiting.length === 0 && this.#promised.messages === 0;
    }
    add(arriving) {
        const { ended } = this.#machine;
        if (ended)
            return arriving.rejected(hasEnded(ended));
        if (!this.#mayWait && !this.#machine.makeRoom(arriving.session, arriving.event.bytes, this.#ahead())) {
            return arriving.rejected(new ClientError("outboxFull", "the outbox is full"));
        }
        this.#waiting.push(arriving);
        this.move();
    }
    /** What has to find room before a new event does. */
    #ahead() {
        const ahead = { ...this.#promised };
        for (const { event } of this.#waiting) {
            ahead.messages += 1;
            ahead.bytes += event.bytes;
        }
        return ahead;
    }
    /** Something has left the outbox, or the client has ended. */
    move() {
        const { ended } = this.#machine;
        if (ended)
            for (const arriving of this.#waiting.splice(0))
                arriving.rejected(hasEnded(ended));
        else if (!this.#isWriting)
            void this.#write();
    }
    /** The next event that there is room for. */
    #admit() {
        const [first] = this.#waiting;
        if (!first || !this.#machine.makeRoom(first.session, first.event.bytes, this.#promised))
            return null;
        this.#waiting.shift();
        return first;
    }
    async #write() {
        const group = [];
        for (let next = this.#admit(); next; next = this.#admit()) {
            group.push(next);
            this.#promised.messages += 1;
            this.#promised.bytes += next.event.bytes;
        }
        if (group.length === 0)
            return;
        this.#isWriting = true;
        let problem = null;
        try {
            await this.#store?.append(group.map(({ id, session, timestamp, event }) => {
                return { id, sessionId: session, timestamp, data: event.data, metadata: JSON.stringify(event.metadata) };
            }));
        }
        catch (error) {
            problem = error instanceof ClientError ? error : new ClientError("store", String(error), { cause: error });
        }
        this.#isWriting = false;
        this.#promised.messages = this.#promised.bytes = 0;
        if (problem?.kind === "fenced")
            this.#end(problem.message);
        for (const arriving of group)
            this.#hand(arriving, problem);
        // Also where nothing was handed on: somebody may wait for the end of it.
        this.#driver.ask(() => {
            this.move();
        });
    }
    #end(detail) {
        this.#driver.ask(() => {
            this.#machine.close({ kind: "fenced", detail });
        });
    }
    #hand(arriving, problem) {
        const { session, id, event, ticket } = arriving;
        const { ended } = this.#machine;
        if (problem)
            return arriving.rejected(problem);
        if (ended)
            return arriving.kept(ended);
        this.#driver.ask((now) => this.#machine.publish(now, { session, id, event, ticket }));
        arriving.accepted();
    }
}
//# sourceMappingURL=intake.js.map