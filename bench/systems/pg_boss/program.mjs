// pg-boss: queues are its queues; a handler is called with a batch of jobs.

import { PgBoss } from "pg-boss";

import { Counter, enqueueChunks, enqueueEach, main, payloadOf, queueOf, queuesOf } from "./common.mjs";

const connectionString = process.env.BENCH_URL;
const CHUNK = 5_000; // jobs in one call of insert
const BATCH = 1_000; // jobs in one call of the handler
const WORKERS = 4; // for each queue, in one process
const TOGETHER = 2; // the smallest batch for which a worker goes on at once after a full one

async function withBoss(options, settings, action) {
  const boss = new PgBoss({ connectionString, migrate: false, schedule: false, supervise: false, ...settings });
  boss.on("error", console.error);
  await boss.start();
  try {
    for (const queue of queuesOf(options)) await boss.createQueue(queue, { notify: true });
    await action(boss);
  } finally {
    await boss.stop();
  }
}

const optionsOf = ({ delay, priority }) => ({
  ...(delay !== undefined && { startAfter: delay }),
  ...(priority !== undefined && { priority: -priority }), // its greatest is first
});

await main({
  install: () => withBoss({}, { migrate: true }, () => undefined),

  enqueue: (options) =>
    withBoss(options, { max: options.clients }, (boss) =>
      enqueueEach(options, (n) => boss.send(queueOf(n, options), payloadOf(n, options), optionsOf(options))),
    ),

  bulk: (options) =>
    withBoss(options, { max: options.clients }, (boss) =>
      enqueueChunks(options, CHUNK, async (numbers) => {
        for (const queue of queuesOf(options)) {
          const jobs = numbers
            .filter((n) => queueOf(n, options) === queue)
            .map((n) => ({ data: payloadOf(n, options), ...optionsOf(options) }));
          if (jobs.length) await boss.insert(queue, jobs);
        }
      }),
    ),

  async work(options) {
    const counter = new Counter(options);
    const { concurrency } = options;
    const batchSize = concurrency === undefined ? BATCH : Math.min(TOGETHER, concurrency);
    const localConcurrency = concurrency === undefined ? WORKERS : Math.ceil(concurrency / batchSize);
    const handler = async (jobs) => {
      const running = jobs.map(({ data }) => counter.started(data)).filter(Boolean);
      if (running.length) await Promise.all(running);
    };
    await withBoss(options, { supervise: true, useListenNotify: true }, async (boss) => {
      for (const queue of queuesOf(options)) {
        await boss.work(
          queue,
          { batchSize, localConcurrency, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 },
          handler,
        );
      }
      await counter.tellUntilStopped(() => boss.stop());
    });
  },
});
