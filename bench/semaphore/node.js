const { setImmediate: turn } = require("timers/promises");

const PERMITS = 10;
const ACQUIRES = 20;
const count = Number(process.argv[2]);

class Semaphore {
  free = PERMITS;
  waiting = [];

  async acquire() {
    if (this.free > 0) this.free--;
    else await new Promise((resolve) => this.waiting.push(resolve));
  }

  release() {
    if (this.waiting.length > 0) this.waiting.shift()();
    else this.free++;
  }
}

async function work(semaphore) {
  for (let i = 0; i < ACQUIRES; i++) {
    await semaphore.acquire();
    await turn();
    semaphore.release();
  }
}

async function main() {
  const semaphore = new Semaphore();
  const start = process.cpuUsage();
  await Promise.all(Array.from({ length: count }, () => work(semaphore)));
  const { user, system } = process.cpuUsage(start);
  console.log("ns", ((user + system) / (count * ACQUIRES)) * 1e3);
}

main();
