const { createReadStream, promises } = require("fs");
const { createInterface } = require("readline");

const [kind, text, path] = process.argv.slice(2);
const count = Number(text);

async function readChunks() {
  let size = 0;
  for await (const chunk of createReadStream(path)) size += chunk.length;
}

async function readLines() {
  let size = 0;
  const input = createReadStream(path, { highWaterMark: 262144 });
  for await (const line of createInterface({ input })) size += line.length;
}

async function readSmall() {
  let left = count;
  async function reader() {
    while (left > 0) {
      left--;
      await promises.readFile(`${path}/${(left % 1000) + 1}`);
    }
  }
  await Promise.all(Array.from({ length: 16 }, reader));
}

async function main() {
  const wall = process.hrtime.bigint();
  const cpu = process.cpuUsage();
  await { chunks: readChunks, lines: readLines, small: readSmall }[kind]();
  const { user, system } = process.cpuUsage(cpu);
  const [pieces, unit] = kind === "lines" ? [count * 16384, 1e9] : [count, 1e6];
  console.log("wall", (Number(process.hrtime.bigint() - wall) / 1e9 / pieces) * unit);
  console.log("cpu", ((user + system) / 1e6 / pieces) * unit);
}

main();
