// MessagePort has no bound: the producer runs ahead.
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");

if (isMainThread) {
  const count = Number(process.argv[2]);
  const worker = new Worker(__filename, { workerData: count });
  let start, sum = 0, seen = 0;
  worker.on("message", (item) => {
    if (item === "ready") {
      start = process.hrtime.bigint();
      worker.postMessage("go");
      return;
    }
    sum += item;
    if (++seen < count) return;
    if (sum !== (count * (count + 1)) / 2) process.exit(1);
    console.log("ns", Number(process.hrtime.bigint() - start) / count);
    process.exit(0);
  });
} else {
  parentPort.once("message", () => {
    for (let i = 1; i <= workerData; i++) parentPort.postMessage(i);
  });
  parentPort.postMessage("ready");
}
