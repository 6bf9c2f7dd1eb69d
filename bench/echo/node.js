const net = require("net");

const path = process.argv[2];
const server = net.createServer((socket) => socket.pipe(socket));
const listening = () => console.log(path || server.address().port);
if (path) server.listen(path, listening);
else server.listen(0, "127.0.0.1", listening);
