// The three jobs on `ws`, with the server configuration of AgentBench's brief. The URL's path chooses the job.

import { WebSocket, WebSocketServer } from "ws";

import { endOnSignal, listening, wantedPort } from "./life.mjs";
import { Recent } from "./recent.mjs";

const room = new Set();
const recent = new Recent();

const jobs = {
  "/echo": (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  },

  // To everyone but the sender, as in the documentation's "Server broadcast".
  "/fanout": (socket) => {
    room.add(socket);
    socket.on("close", () => room.delete(socket));
    socket.on("message", (data, isBinary) => {
      for (const member of room) {
        if (member !== socket && member.readyState === WebSocket.OPEN) {
          member.send(data, { binary: isBinary });
        }
      }
    });
  },

  "/publish": (socket) => {
    socket.on("message", (data) => {
      const message = JSON.parse(data);
      const seq = recent.keep(message);
      socket.send(JSON.stringify({ type: "ack", originalMessageId: message.id, seq }));
    });
  },
};

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: wantedPort(),
  maxPayload: 16 * 1024 * 1024,
  verifyClient: (info, done) => done(true),
});

server.on("connection", (socket, request) => {
  socket.on("error", () => {}); // `ws` closes the connection itself; without a listener the process would end
  const job = jobs[request.url];
  if (!job) {
    socket.close(1008, "paths are /echo, /fanout and /publish");
    return;
  }
  job(socket);
});

server.on("listening", () => listening(server.address().port));
endOnSignal();
