// What a program of Node asks of the kernel: children, workers, files, watchers, signals.
const { execFileSync, fork, spawn, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const { once } = require("node:events");
const { Worker, isMainThread, parentPort } = require("node:worker_threads");

async function main() {
  console.log("== children");
  for (const script of ["exit 3", "kill -9 $$", "kill -TERM $$", "echo said; cat", "echo wrong >&2"]) {
    const { status, signal, stdout, stderr } = spawnSync("sh", ["-c", script], { input: "in", encoding: "utf8" });
    console.log(script, status, signal, stdout, stderr);
  }
  console.log(spawnSync("/nonexistent").error.code);
  console.log(spawnSync("sleep", ["1000"], { timeout: 200 }).signal);
  const child = spawn("sleep", ["1000"]);
  child.kill("SIGSTOP");
  child.kill("SIGCONT");
  child.kill("SIGINT");
  console.log(await once(child, "exit"));
  const many = Array.from({ length: 40 }, (_, i) => once(spawn("sh", ["-c", `exit ${i}`]), "exit"));
  console.log((await Promise.all(many)).map(([status]) => status).join(" "));
  const forked = fork(__filename, ["child"]);
  forked.send("hello");
  console.log((await once(forked, "message"))[0], (await once(forked, "exit"))[0]);

  console.log("== workers");
  const workers = Array.from({ length: 6 }, () => new Worker(__filename));
  console.log((await Promise.all(workers.map((worker) => once(worker, "message")))).map(([lines]) => lines > 3).join(" "));
  await Promise.all(workers.map((worker) => worker.terminate()));

  console.log("== files");
  console.log(fs.statfsSync("/proc").type, fs.readFileSync("/proc/self/mounts", "utf8") === fs.readFileSync("/proc/self/mounts", "utf8"));
  console.log((await Promise.all(Array.from({ length: 50 }, () => fs.promises.readFile("/proc/self/mountinfo")))).every((text) => text.length > 100));
  fs.writeFileSync("watched", "a");
  const watcher = fs.watch(".");
  const changed = once(watcher, "change");
  fs.writeFileSync("watched", "b");
  console.log((await changed)[1]);
  watcher.close();

  console.log("== signals");
  process.on("SIGUSR2", () => console.log("handled"));
  execFileSync("kill", ["-USR2", String(process.pid)]);
  await new Promise((done) => setTimeout(done, 50));
  process.on("SIGWINCH", () => console.log("resized"));
  process.kill(process.pid, "SIGWINCH");
  await new Promise((done) => setTimeout(done, 50));
  process.kill(process.pid, "SIGTERM");
}

if (!isMainThread) {
  parentPort.postMessage(fs.readFileSync("/proc/self/mountinfo", "utf8").split("\n").length);
} else if (process.argv[2] === "child") {
  process.on("message", (text) => process.send(`${text} back`, () => process.exit(5)));
} else {
  main();
}
