/** The end of a client whose durable outbox has a newer owner. */
import { ClientError } from "./outcome.js";
/** The error that it gets. */
export declare function fenced(): ClientError;
