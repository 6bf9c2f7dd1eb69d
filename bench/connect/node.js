const net = require("net");

const CLIENTS = 50;
const count = Number(process.argv[2]);
const start = process.cpuUsage();
let toBegin = count;
let toEnd = count;

function visit(port) {
  if (toBegin-- <= 0) return;
  const socket = net.connect(port, "127.0.0.1");
  socket.resume();
  socket.on("close", () => {
    if (--toEnd === 0) {
      const { user, system } = process.cpuUsage(start);
      console.log("us", (user + system) / count);
      process.exit();
    }
    visit(port);
  });
}

const server = net.createServer((socket) => socket.end());
server.listen(0, "127.0.0.1", 1024, () => {
  for (let i = 0; i < CLIENTS; i++) visit(server.address().port);
});
