// The three jobs on Bun's own WebSocket server and its own publish/subscribe. The URL's path chooses the job.

import { endOnSignal, listening, wantedPort } from "./life.mjs";
import { Recent } from "./recent.mjs";

const ROOM = "room";
const JOBS = new Set(["/echo", "/fanout", "/publish"]);
const recent = new Recent();

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: wantedPort(),
  fetch(request, server) {
    const job = new URL(request.url).pathname;
    if (JOBS.has(job) && server.upgrade(request, { data: { job } })) {
      return undefined;
    }
    return new Response("paths are /echo, /fanout and /publish, by WebSocket\n", { status: 400 });
  },
  websocket: {
    maxPayloadLength: 16 * 1024 * 1024,
    perMessageDeflate: false,
    open(socket) {
      if (socket.data.job === "/fanout") {
        socket.subscribe(ROOM);
      }
    },
    message(socket, text) {
      switch (socket.data.job) {
        case "/echo":
          socket.send(text);
          break;
        case "/fanout":
          socket.publish(ROOM, text); // to everyone in the room but the sender
          break;
        case "/publish": {
          const message = JSON.parse(text);
          const seq = recent.keep(message);
          socket.send(JSON.stringify({ type: "ack", originalMessageId: message.id, seq }));
          break;
        }
      }
    },
  },
});

listening(server.port);
endOnSignal();
