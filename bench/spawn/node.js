const { setImmediate: turn } = require("timers/promises");

const BATCH = 1000;
const count = Number(process.argv[2]);

async function work(i) {
  await null;
  return i;
}

async function main() {
  const start = process.cpuUsage();
  for (let done = 0; done < count; done += BATCH) {
    const tasks = [];
    for (let i = 0; i < BATCH; i++) tasks.push(work(i));
    const results = await Promise.all(tasks);
    if (results[BATCH - 1] !== BATCH - 1) throw new Error("wrong result");
    await turn();
  }
  const { user, system } = process.cpuUsage(start);
  console.log("ns", ((user + system) / count) * 1e3);
}

main();
