/** Moves frames between a transport and the machine, keeps its clock, and decides nothing. */
import type { Told } from "./machine/outputs.js";
import type { Machine } from "./machine/machine.js";
import type { Now } from "./machine/settings.js";
import type { Transport, TransportRequest } from "./transport.js";
/** What a driver needs beside the machine. */
export interface DriverParts {
    transport: Transport;
    request: Omit<TransportRequest, "token">;
    /** Asked for a token when the machine wants one. */
    fetchToken: () => Promise<string>;
    /** Asked before each attempt to connect; rejects with `fenced` if this client may not any more. */
    mayConnect: () => Promise<void>;
    /** Takes what the machine tells. */
    tell: (told: Told) => void;
    /** All that follows from the last input is done: there may be room in the outbox. */
    rest: () => void;
}
/** The present moment. */
export declare function present(): Now;
/** Runs one machine. */
export declare class Driver {
    #private;
    constructor(machine: Machine, parts: DriverParts);
    /** Asks something of the machine, and does soon what follows from it. */
    ask<T>(what: (now: Now) => T): T;
}
/** Gives a token back if a WebSocket can carry it (RFC 6455 §4.1: the value of a header's token). */
export declare function checkToken(token: string): string;
