const { setTimeout: sleep } = require("timers/promises");

const count = Number(process.argv[2]);

async function work(ms, signal) {
  await sleep(ms, undefined, { signal });
}

async function main() {
  const controllers = Array.from({ length: count }, () => new AbortController());
  const tasks = controllers.map(({ signal }) => work(3600e3, signal));
  await null;
  const start = process.cpuUsage();
  for (const controller of controllers) controller.abort();
  const results = await Promise.allSettled(tasks);
  const { user, system } = process.cpuUsage(start);
  console.log("ns", ((user + system) / count) * 1e3);
  if (results.some(({ status }) => status !== "rejected")) throw new Error("not cancelled");
}

main();
