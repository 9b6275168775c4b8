// What many a first version is: a mail handler that passes each mail on to whoever is connected. Every default is ws's and Node's own.
const http = require("node:http");
const net = require("node:net");
const { WebSocketServer } = require("ws");

const server = http.createServer();
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket, request) => { socket.inbox = request.url.slice(1); });
server.listen(8001, "127.0.0.1");

function handle(inbox, mail) {
  const subject = /^Subject: (.*)$/im.exec(mail)[1];
  for (const socket of sockets.clients)
    if (socket.inbox === inbox && socket.readyState === socket.OPEN) socket.send(JSON.stringify({ subject }));
}

net.createServer((peer) => {
  let rest = "", inbox = "", mail = null;
  peer.setEncoding("utf8");
  peer.on("error", () => {});
  peer.write("220 naive\r\n");
  peer.on("data", (chunk) => {
    const lines = (rest + chunk).split("\r\n");
    rest = lines.pop();
    for (const line of lines) {
      if (mail !== null && line !== ".") { mail += `${line}\n`; continue; }
      if (mail !== null) { handle(inbox, mail); mail = null; peer.write("250 passed on\r\n"); continue; }
      const [verb] = line.toUpperCase().split(" ");
      if (verb === "RCPT") inbox = /<([^@]+)@/.exec(line)[1];
      if (verb === "DATA") { mail = ""; peer.write("354 go on\r\n"); }
      else if (verb === "QUIT") peer.end("221 bye\r\n");
      else peer.write("250 ok\r\n");
    }
  });
}).listen(2501);
