const [count, bound] = process.argv.slice(2).map(Number);

class Queue {
  items = [];
  wake = null;

  async changed() {
    await new Promise((resolve) => (this.wake = resolve));
  }

  signal() {
    this.wake?.();
    this.wake = null;
  }

  async put(item) {
    while (this.items.length === bound) await this.changed();
    this.items.push(item);
    this.signal();
  }

  async get() {
    while (this.items.length === 0) await this.changed();
    const item = this.items.shift();
    this.signal();
    return item;
  }
}

async function produce(queue) {
  for (let i = 1; i <= count; i++) await queue.put(i);
}

async function consume(queue) {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += await queue.get();
  if (sum !== (count * (count + 1)) / 2) throw new Error("wrong sum");
}

async function main() {
  const queue = new Queue();
  const start = process.cpuUsage();
  await Promise.all([produce(queue), consume(queue)]);
  const { user, system } = process.cpuUsage(start);
  console.log("ns", ((user + system) / count) * 1e3);
}

main();
