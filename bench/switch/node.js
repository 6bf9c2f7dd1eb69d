const { setImmediate: turn } = require("timers/promises");

const switches = Number(process.argv[2]);

async function spin(turns) {
  for (let i = 0; i < turns; i++) await turn();
}

async function main() {
  const start = process.cpuUsage();
  await Promise.all([spin(switches / 2), spin(switches / 2)]);
  const { user, system } = process.cpuUsage(start);
  console.log("ns", ((user + system) / switches) * 1e3);
}

main();
