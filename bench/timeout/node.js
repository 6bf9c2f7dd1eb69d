const { setTimeout: sleep } = require("timers/promises");

const [count, waits] = process.argv.slice(2).map(Number);
let expired = 0;

async function work() {
  for (let i = 0; i < waits; i++) {
    try {
      await sleep(3600e3, undefined, { signal: AbortSignal.timeout(1) });
    } catch {
      expired++;
    }
  }
}

async function main() {
  const start = process.cpuUsage();
  await Promise.all(Array.from({ length: count / waits }, work));
  const { user, system } = process.cpuUsage(start);
  console.log("ns", ((user + system) / count) * 1e3);
  if (expired !== count) throw new Error("not expired");
}

main();
