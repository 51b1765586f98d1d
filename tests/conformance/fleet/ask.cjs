// Requests operations of the admin API on a thread of its own, while the thread of the suite is blocked.
const { workerData: { port, answered } } = require('node:worker_threads');

port.on('message', async (request) => {
  let answer;
  try {
    answer = await (await fetch(...request)).text();
  } catch (error) {
    answer = JSON.stringify({ error: String(error) });
  }
  port.postMessage(answer);
  Atomics.store(answered, 0, 1);
  Atomics.notify(answered, 0);
});
