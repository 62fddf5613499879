// Publishes numbers, each under an id of its own, through a durable outbox, and prints each that is accepted, until it is killed.
import { connect, fileOutbox } from "../../dist/node.js";

const [url, token, directory, session, first] = process.argv.slice(2);
const client = await connect({ url, token, outbox: fileOutbox({ directory }), connectPatience: 20_000 });
// Bounded: its parent kills it long before.
for (let number = Number(first); number < 100_000; number += 1) {
  await client.enqueue(session, { number }, { id: `n${number}` });
  console.log(number);
}
