/** A session that was created or joined. Every method is that of {@link Client} for this session. */
export class Session {
    /** Its name. */
    id;
    /** Its state when it was created or joined; `client.getSessionInfo` asks anew. */
    info;
    #client;
    /** @internal */
    constructor(client, info) {
        this.#client = client;
        this.info = info;
        this.id = info.sessionId;
    }
    /** Publishes an event, and gives what became of it: stored, refused or unknown. */
    publish(data, options) {
        return this.#client.publish(this.id, data, options);
    }
    /** Puts an event into the outbox; the ticket tells what becomes of it. */
    enqueue(data, options) {
        return this.#client.enqueue(this.id, data, options);
    }
    /** Follows it from a place in its log. */
    follow(from, listener) {
        return this.#client.follow(this.id, from, listener);
    }
    /** idle → running. */
    async start() {
        await this.#client.start(this.id);
    }
    /** running → paused. */
    async pause() {
        await this.#client.pause(this.id);
    }
    /** paused → running. */
    async resume() {
        await this.#client.resume(this.id);
    }
    /** Ends it. */
    async stop(outcome, reason) {
        await this.#client.stop(this.id, outcome, reason);
    }
    /** Leaves it: what waits to be published there is given up, its follow ends. */
    leave() {
        return this.#client.leave(this.id);
    }
}
//# sourceMappingURL=session.js.map