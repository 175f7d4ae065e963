// graphile-worker: a queue of the bench is a task of its own, since its "queue_name" makes jobs run one after the other.

import { Counter, enqueueChunks, enqueueEach, main, payloadOf, queueOf, queuesOf } from "./common.mjs";

process.env.NO_LOG_SUCCESS = "1"; // as in its own performance test; read when the library is loaded
const { Logger, makeWorkerUtils, run, runMigrations } = await import("graphile-worker");

const connectionString = process.env.BENCH_URL;
const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});
const CHUNK = 5_000; // jobs in one call of addJobs
const CONCURRENCY = 24;

function specOf(n, options) {
  return {
    runAt: options.delay === undefined ? undefined : new Date(Date.now() + options.delay * 1e3),
    priority: options.priority,
  };
}

async function withUtils(options, action) {
  const utils = await makeWorkerUtils({ connectionString, logger, maxPoolSize: options.clients });
  try {
    await action(utils);
  } finally {
    await utils.release();
  }
}

await main({
  install: () => runMigrations({ connectionString, logger }),

  enqueue: (options) =>
    withUtils(options, (utils) =>
      enqueueEach(options, (n) => utils.addJob(queueOf(n, options), payloadOf(n, options), specOf(n, options))),
    ),

  bulk: (options) =>
    withUtils(options, (utils) =>
      enqueueChunks(options, CHUNK, (numbers) =>
        utils.addJobs(
          numbers.map((n) => ({
            identifier: queueOf(n, options),
            payload: payloadOf(n, options),
            ...specOf(n, options),
          })),
        ),
      ),
    ),

  async work(options) {
    const counter = new Counter(options);
    const concurrentJobs = options.concurrency ?? CONCURRENCY;
    const handler = (payload) => counter.started(payload);
    const runner = await run({
      logger,
      noHandleSignals: true,
      taskList: Object.fromEntries(queuesOf(options).map((queue) => [queue, handler])),
      preset: {
        worker: {
          connectionString,
          concurrentJobs,
          maxPoolSize: concurrentJobs + 1,
          localQueue: { size: 500 },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        },
      },
    });
    await counter.tellUntilStopped(() => runner.stop());
  },
});
