// A static page that publishes steps into a session and shows the session live. What it could not send survives a reload.
import { connect, indexedDbOutbox } from "@agentbench/client";

const $ = (id) => document.getElementById(id);
const form = $("connect");
const button = $("step");

/** Shows where things stand. */
function show(client) {
  $("state").value = client.ended ? `ended: ${client.ended.kind}` : client.state;
  $("waiting").value = String(client.outbox.messages);
}

function line(text) {
  const item = document.createElement("li");
  item.textContent = text;
  $("log").append(item);
}

async function run({ url, token, session: id }) {
  const client = await connect({ url, token, outbox: indexedDbOutbox({ name: "example" }), connectPatience: 60_000 });
  client.onEvent((event) => {
    if (event.type === "recovered") line(`sent from before the reload: ${event.id} ${event.outcome.status}`);
    show(client);
  });
  const session = id ? await client.join(id) : await client.create({ projectId: "example", testId: "page", agentName: "a person" });
  form.elements.session.value = session.id;
  // Where to go on after a reload.
  sessionStorage.setItem("session", session.id);
  await session.follow("start", (item) => {
    if (item.type === "event") line(`${item.seq} ${item.data.eventType} ${item.data.step ?? ""}`);
    else if (item.type !== "presence") line(`— ${item.type} —`);
    show(client);
  });
  let steps = 0;
  button.onclick = async () => {
    steps += 1;
    const ticket = await session.enqueue({ eventType: "automation_step", step: `step ${steps}` });
    show(client);
    const outcome = await ticket.outcome;
    if (outcome.status !== "stored") line(`not stored: ${outcome.status}`);
    show(client);
  };
  button.disabled = false;
  show(client);
}

form.onsubmit = (event) => {
  event.preventDefault();
  run(Object.fromEntries(new FormData(form))).catch((error) => {
    $("state").value = error.message;
  });
};

// A link may carry the fields behind its #, which no server sees.
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) form.elements[name].value = value;
form.elements.session.value ||= sessionStorage.getItem("session") ?? "";
if (form.elements.token.value) form.requestSubmit();
