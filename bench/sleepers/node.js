const fs = require("fs");
const { setTimeout: sleep } = require("timers/promises");

const count = Number(process.argv[2]);

async function work(seconds) {
  await sleep(seconds * 1000);
}

function peakRssKib() {
  return Number(/VmHWM:\s*(\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]);
}

async function main() {
  const start = process.cpuUsage();
  const tasks = [];
  for (let i = 1; i <= count; i++) tasks.push(work(((i * 0.6180339887498949) % 1) * 2));
  await Promise.all(tasks);
  const { user, system } = process.cpuUsage(start);
  console.log("ns", ((user + system) / count) * 1e3);
  console.log("bytes", (peakRssKib() * 1024) / count);
}

main();
