// Publishes each line of the standard input as an event, and ends when all of them are stored. Killed and started again
// with the same folder, it first sends what is left of the last time.
//
//   AGENTBENCH_TOKEN=… node publish.mjs ws://127.0.0.1:3001 ./outbox [SESSION] < lines
import { createInterface } from "node:readline";
import { connect, fileOutbox } from "@agentbench/client/node";

const [url, directory, known] = process.argv.slice(2);
const client = await connect({
  url,
  token: process.env.AGENTBENCH_TOKEN ?? "",
  outbox: fileOutbox({ directory }),
  connectPatience: 60_000,
  onEvent: (event) => {
    if (event.type === "recovered") console.error(`from the last time: ${event.id} ${event.outcome.status}`);
  },
});
const session = known ? await client.join(known) : await client.create({ projectId: "example", testId: "lines", agentName: "a shell" });
console.log(`session ${session.id}`);

for await (const text of createInterface({ input: process.stdin })) {
  const { outcome } = await session.enqueue({ eventType: "console_log", message: text });
  outcome.then((became) => console.log(became.status === "stored" ? `${became.seq} ${text}` : `${became.status} ${text}`));
}
await client.flush();
await client.close();
