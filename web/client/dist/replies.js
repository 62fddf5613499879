/** The commands' replies: each has one type, and anything else is an error that says so. */
import { ClientError } from "./outcome.js";
/** Gives the reply if it is of one of these types; throws `unexpectedReply` if not. */
export function expectReply(reply, ...types) {
    if (!types.includes(reply.type)) {
        throw new ClientError("unexpectedReply", `the server answered with ${reply.type} where ${types.join(" or ")} was expected`);
    }
    return reply;
}
//# sourceMappingURL=replies.js.map