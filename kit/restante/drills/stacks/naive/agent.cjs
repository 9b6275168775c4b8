// The stock WebSocket, opened again when it closes: what the documentation of most feeds shows.
const fs = require("node:fs");

const history = `${process.env.STATE_DIRECTORY}/events.jsonl`;
const agents = Number(process.env.DRILL_AGENTS ?? 1);

function say(what, more) {
  const event = { at: Number(process.hrtime.bigint()) / 1e9, side: "naive", who: "agent", what, ...more };
  fs.appendFileSync(history, `${JSON.stringify(event)}\n`);
}

function open(inbox) {
  const socket = new WebSocket(`wss://naive.drill.example/${inbox}`);
  let up = false;
  socket.onopen = () => { up = true; say("up", { inbox }); };
  socket.onmessage = async ({ data }) => {
    const { subject } = JSON.parse(data);
    const n = Number(subject.split(" ").pop());
    say("handling", { inbox, n });
    if (subject.startsWith("poison")) throw new Error("an agent of the drill cannot stand this one");
    if (subject.startsWith("block")) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50_000); // as a long computation does
    await new Promise((done) => setTimeout(done, subject.startsWith("slow") ? 2000 : 20));
    say("handled", { inbox, n });
  };
  socket.onclose = () => {
    if (up) say("down", { inbox });
    setTimeout(open, 1000, inbox);
  };
  socket.onerror = () => {};
}

say("start", { inbox: "agent-1" });
for (let count = 1; count <= agents; count++) open(`agent-${count}`);
