// What the Node programs share: options, the machine's monotonic clock, pacing, counting, and the lines that are printed.

import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

export { sleep };

const PERIOD = 100; // ms between two looks at the number of executed jobs
const OPTIONS = {
  count: Number,
  clients: Number,
  rate: Number,
  queues: Number,
  ms: Number,
  mix: Boolean,
  delay: Number,
  priority: Number,
  text: Number,
  concurrency: Number,
  processes: Number,
  executor: String,
  stamps: String,
  keep: Boolean,
};

// performance.now() counts from the start of the process, on the clock of hrtime, and is cheaper to ask.
const START = Number(process.hrtime.bigint()) / 1e9 - performance.now() / 1e3;

/** Seconds of the clock that all processes of the machine share. */
export const now = () => START + performance.now() / 1e3;

/** The CPU time of this process, in seconds. */
export function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Write one line of JSON. */
export function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Call the verb that the command line names; what it throws goes to stderr, with status 1. */
export async function main(verbs) {
  try {
    const { values, positionals } = parseArgs({
      args: negativesJoined(process.argv.slice(2)),
      allowPositionals: true,
      options: Object.fromEntries(
        Object.entries(OPTIONS).map(([name, type]) => [name, { type: type === Boolean ? "boolean" : "string" }]),
      ),
    });
    const verb = verbs[positionals[0]];
    if (!verb) throw new Error(`no such verb: ${positionals[0]}`);
    const given = Object.entries(values).map(([name, value]) => [name, OPTIONS[name](value)]);
    await verb({ clients: 1, text: 200, keep: false, ...Object.fromEntries(given) });
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
}

// parseArgs() takes "-1" for an option unless it is joined to the name: "--priority=-1".
function negativesJoined(given) {
  const args = [];
  for (const arg of given) {
    if (/^-\d/.test(arg)) args.push(`${args.pop()}=${arg}`);
    else args.push(arg);
  }
  return args;
}

/** The queue of the job with this number: all in one, or round robin. */
export const queueOf = (n, { queues }) => (queues ? `bench-${n % queues}` : "bench");

/** All queues. */
export const queuesOf = ({ queues }) => (queues ? Array.from({ length: queues }, (_, k) => `bench-${k}`) : ["bench"]);

/** The payload of the job with this number: `--text` bytes of JSON in all. */
export function payloadOf(n, { text, ms, mix }) {
  const takes = mix ? mixed(n) : ms;
  const payload = takes === undefined ? { n, text: "" } : { n, ms: takes, text: "" };
  payload.text = "x".repeat(Math.max(0, text - JSON.stringify(payload).length));
  return payload;
}

/** Milliseconds that a job takes with `--mix`: 90% 0 to 5, 9% 50, 1% 500, in an order without pattern. */
function mixed(n) {
  const place = (n * 619) % 1000; // each of 0..999 once in a thousand jobs
  return place < 900 ? place % 6 : place < 990 ? 50 : 500;
}

/** Enqueue job by job with so many clients at once; `one(n)` returns when job n is committed. */
export async function enqueueEach(options, one) {
  const { count, clients, rate, stamps } = options;
  const times = stamps ? new Float64Array(count) : null;
  const called = stamps ? new Float64Array(count) : null;
  const began = now();
  async function client(first) {
    for (let n = first; n < count; n += clients) {
      if (rate) {
        // Every job has its own moment, so that a late one delays none after it.
        const wait = began + n / rate - now();
        if (wait > 0) await sleep(wait * 1e3);
      }
      if (called) called[n] = now();
      await one(n);
      if (times) times[n] = now();
    }
  }
  await measured(count, () => Promise.all(Array.from({ length: Math.min(clients, count) }, (_, k) => client(k))));
  if (times) writeFileSync(stamps, lines(times.keys(), times, called));
}

/** Enqueue in chunks of so many jobs with so many clients at once; `chunk(numbers)` returns when they are committed. */
export async function enqueueChunks(options, size, chunk) {
  const { count, clients } = options;
  await measured(count, () =>
    Promise.all(
      Array.from({ length: clients }, async (_, k) => {
        for (let from = k * size; from < count; from += clients * size) {
          await chunk(Array.from({ length: Math.min(size, count - from) }, (_, i) => from + i));
        }
      }),
    ),
  );
}

async function measured(count, action) {
  const began = now();
  const before = cpu();
  await action();
  print({ count, seconds: now() - began, cpu: cpu() - before });
}

/** Counts the handlers that start, and tells of them. */
export class Counter {
  #executed = 0;
  #told = 0;
  #first = null;
  #last = null;
  #numbers = [];
  #times = [];
  #stamps;

  constructor({ stamps }) {
    this.#stamps = stamps;
  }

  /** A handler of this payload starts; a promise if it is to take time. */
  started({ n, ms }) {
    const time = now();
    this.#executed += 1;
    this.#first ??= time;
    this.#last = time;
    if (this.#stamps) {
      this.#numbers.push(n);
      this.#times.push(time);
    }
    return ms ? sleep(ms) : undefined;
  }

  /** Say that the worker is ready, and go on telling until SIGTERM; then call `stop`, and tell the rest. */
  async tellUntilStopped(stop) {
    const stopped = new Promise((resolve) => process.once("SIGTERM", resolve));
    print({ ready: true });
    const telling = setInterval(() => {
      if (this.#executed !== this.#told) print(this.#state());
    }, PERIOD);
    await stopped;
    await stop();
    clearInterval(telling);
    if (this.#stamps) writeFileSync(this.#stamps, lines(this.#numbers, this.#times));
    print({ ...this.#state(), cpu: cpu(), rss: mostResident() });
  }

  #state() {
    this.#told = this.#executed;
    return { executed: this.#executed, first: this.#first, last: this.#last };
  }
}

// Not by resourceUsage(), whose figure a program inherits from its parent.
const mostResident = () => 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);

// A line for each job: its number, when it was committed or started, and for an enqueue when it was called.
function lines(numbers, times, called) {
  let text = "";
  let k = 0;
  for (const n of numbers) {
    text += `${n} ${times[k].toFixed(9)}${called ? ` ${called[k].toFixed(9)}` : ""}\n`;
    k += 1;
  }
  return text;
}
