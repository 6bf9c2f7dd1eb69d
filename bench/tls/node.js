const tls = require("tls");

const pem = require("fs").readFileSync(process.argv[2]);
const server = tls.createServer({ cert: pem, key: pem }, (socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
