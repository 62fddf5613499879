import { ClientError } from "./outcome.js";
/** Bytes that may wait in the socket before no more are written. */
const HIGH_WATER = 1024 * 1024;
/** How often a full socket is looked at again, ms: there is no event for it. */
const LOOK_AGAIN = 20;
/** Longest time that a timer takes, ms. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** The present moment. */
export function present() {
    return { at: performance.now(), unix: Date.now() };
}
/** Runs one machine. */
export class Driver {
    #machine;
    #parts;
    #link = null;
    #isOpen = false;
    /** Counts the attempts: what belongs to an earlier one is ignored. */
    #attempt = 0;
    #timer;
    #armedFor = null;
    #isScheduled = false;
    constructor(machine, parts) {
        this.#machine = machine;
        this.#parts = parts;
    }
    /** Asks something of the machine, and does soon what follows from it. */
    ask(what) {
        try {
            return what(present());
        }
        finally {
            this.#schedule();
        }
    }
    /** What is asked for in one go is sent in one go. */
    #schedule() {
        if (this.#isScheduled)
            return;
        this.#isScheduled = true;
        queueMicrotask(() => {
            this.#isScheduled = false;
            this.#pump();
        });
    }
    /** Does all that the machine wants done. */
    #pump() {
        for (let isBusy = true; isBusy;) {
            isBusy = this.#act() || this.#write();
            for (let told = this.#machine.pollTold(); told; told = this.#machine.pollTold()) {
                isBusy = true;
                this.#parts.tell(told);
            }
        }
        this.#parts.rest();
        this.#arm();
    }
    #act() {
        const action = this.#machine.pollAction();
        switch (action?.type) {
            case undefined:
                return false;
            case "connect":
                void this.#connect(action.token);
                return true;
            case "disconnect":
                this.#attempt += 1;
                this.#isOpen = false;
                this.#link?.close(action.code);
                this.#link = null;
                return true;
            case "fetchToken":
                void this.#fetchToken();
                return true;
        }
    }
    async #connect(token) {
        const attempt = (this.#attempt += 1);
        const isCurrent = () => attempt === this.#attempt;
        try {
            await this.#parts.mayConnect();
            if (isCurrent())
                this.#link = this.#parts.transport({ ...this.#parts.request, token }, this.#events(isCurrent));
        }
        catch (error) {
            if (isCurrent())
                this.#failed(error);
        }
    }
    #failed(error) {
        const detail = error instanceof Error ? error.message : String(error);
        this.ask((now) => {
            if (error instanceof ClientError && error.kind === "fenced")
                this.#machine.close({ kind: "fenced", detail });
            else
                this.#machine.unreachable(now, detail);
        });
    }
    /** Passes on what a link tells, as long as it is the current one. */
    #events(isCurrent) {
        const pass = (what) => {
            if (isCurrent())
                this.ask(what);
        };
        const ends = (what) => {
            pass((now) => {
                this.#isOpen = false;
                this.#link = null;
                what(now);
            });
        };
        return {
            opened: (subprotocol) => {
                pass((now) => {
                    this.#isOpen = true;
                    this.#machine.opened(now, subprotocol);
                });
            },
            received: (frame) => {
                pass((now) => {
                    this.#machine.received(now, frame);
                });
            },
            heard: () => {
                pass((now) => {
                    this.#machine.heard(now);
                });
            },
            refused: (status, retryAfter, body) => {
                ends((now) => {
                    this.#machine.refused(now, status, retryAfter, body);
                });
            },
            closed: (code, reason) => {
                ends((now) => {
                    this.#machine.closed(now, code, reason);
                });
            },
        };
    }
    async #fetchToken() {
        let answer;
        try {
            answer = { token: checkToken(await this.#parts.fetchToken()) };
        }
        catch (error) {
            answer = { error: error instanceof Error ? error.message : String(error) };
        }
        this.ask((now) => {
            this.#machine.token(now, answer);
        });
    }
    /** Hands one frame over, if the socket takes it. */
    #write() {
        if (!this.#link || !this.#isOpen || this.#link.buffered > HIGH_WATER)
            return false;
        const frame = this.#machine.transmit(present());
        if (frame !== null)
            this.#link.send(frame);
        return frame !== null;
    }
    /** Sets the timer to what is due next. */
    #arm() {
        const isFull = this.#link !== null && this.#isOpen && this.#link.buffered > HIGH_WATER;
        const { at } = present();
        const next = isFull ? Math.min(this.#machine.nextTimeout ?? Infinity, at + LOOK_AGAIN) : this.#machine.nextTimeout;
        if (next === this.#armedFor)
            return;
        clearTimeout(this.#timer);
        this.#armedFor = next;
        if (next === null)
            return;
        this.#timer = setTimeout(() => {
            this.#armedFor = null;
            this.ask((now) => {
                this.#machine.timeout(now);
            });
        }, Math.min(Math.max(Math.ceil(next - at), 0), LONGEST_TIMER));
    }
}
/** Gives a token back if a WebSocket can carry it (RFC 6455 §4.1: the value of a header's token). */
export function checkToken(token) {
    if (/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(token))
        return token;
    throw new ClientError("invalid", "the token has characters that no token has: give the bare JWT");
}
//# sourceMappingURL=driver.js.map