const dgram = require("dgram");

const CLIENTS = 50;
const [count, size] = process.argv.slice(2).map(Number);
const message = Buffer.alloc(size, "x");
const start = process.cpuUsage();
let left = count;

function finish() {
  const { user, system } = process.cpuUsage(start);
  console.log("us", (user + system) / count);
  process.exit();
}

function ask(port) {
  const client = dgram.createSocket("udp4");
  client.on("message", (data) => {
    if (data.length !== size) throw new Error("wrong answer");
    if (--left === 0) finish();
    client.send(message);
  });
  client.connect(port, "127.0.0.1", () => client.send(message));
}

const server = dgram.createSocket("udp4");
server.on("message", (data, from) => server.send(data, from.port, from.address));
server.bind(0, "127.0.0.1", () => {
  for (let i = 0; i < CLIENTS; i++) ask(server.address().port);
});
