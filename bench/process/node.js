const { spawn } = require("child_process");
const { once } = require("events");

const AT_A_TIME = 8;
const count = Number(process.argv[2]);
let left = count;

async function work() {
  while (left > 0) {
    left--;
    const [code] = await once(spawn("true", { stdio: "inherit" }), "exit");
    if (code !== 0) throw new Error("wrong status");
  }
}

async function main() {
  const start = performance.now();
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  console.log("us", ((performance.now() - start) / count) * 1e3);
}

main();
