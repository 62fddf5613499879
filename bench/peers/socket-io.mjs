// The three jobs on Socket.IO, over WebSocket alone. The event's name chooses the job.

import { createServer } from "node:http";
import { Server } from "socket.io";

import { endOnSignal, listening, wantedPort } from "./life.mjs";
import { Recent } from "./recent.mjs";

const ROOM = "room";

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  maxHttpBufferSize: 16 * 1024 * 1024,
  serveClient: false,
});
const recent = new Recent();

// "Discard the initial HTTP request", from the documentation's page on performance: less memory for each connection.
io.engine.on("connection", (connection) => {
  connection.request = null;
});

io.on("connection", (socket) => {
  socket.on("echo", (text) => socket.emit("echo", text));
  socket.on("join", (done) => {
    socket.join(ROOM);
    done();
  });
  socket.on("fanout", (text) => socket.to(ROOM).emit("fanout", text));
  socket.on("publish", (message, ack) => ack({ id: message.id, seq: recent.keep(message) }));
});

http.listen(wantedPort(), "127.0.0.1", () => listening(http.address().port));
endOnSignal();
