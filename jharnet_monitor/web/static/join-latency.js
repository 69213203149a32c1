// The page's own latency, a measurement a minute: the round trips of its heartbeats. They run in the
// session's TCP connection, so they show delay and silence, but not the loss of packets.

import { LATE, Lateness, percentile } from "./join-lateness.js";

const MINUTE = 60000;
const ALONE = 20000; // shorter while the hub cannot be reached: time for two attempts
const TIMEOUT = 2000;
const SLEPT = 10000; // between two ticks: the computer slept, or the page was frozen
const PLACES = 1e6;

export class Latency {
  #sent = new Map();
  #rtts = [];
  #lateness = new Lateness();
  #count = 0; // of this period
  #answered = 0;
  #refused = 0;
  #unanswered = 0;
  #ticked = performance.now();
  #began = performance.now();
  #alone = true;
  #loaded = false;
  #hidden = false;
  #offset = 0; // of this computer's clock to the hub's, in ms

  // `record(measurement)` keeps one; `loaded()` tells whether a test runs.
  constructor({ office, bootId }, record, loaded) {
    this.office = office;
    this.bootId = bootId;
    this.record = record;
    this.loaded = loaded;
  }

  sent(n) {
    this.#sent.set(n, performance.now());
    this.#count += 1;
  }

  beat({ n, now }) {
    const rtt = performance.now() - this.#sent.get(n);
    if (!this.#sent.delete(n)) return;
    if (rtt <= TIMEOUT) { // a later one counts as lost, so it has no round trip either
      this.#answered += 1;
      this.#rtts.push(rtt / 1000);
    }
    if (typeof now === "number") this.#offset = now * 1000 + rtt / 2 - Date.now();
  }

  // The hub was not reached: somebody refused at once, or nobody answered.
  attempt(refused) {
    if (refused) this.#refused += 1;
    else this.#unanswered += 1;
  }

  // The session began or ended; no measurement covers both.
  reached(yes) {
    if (yes === !this.#alone) return;
    const now = performance.now();
    this.#fold(now - this.#ticked > SLEPT ? this.#ticked : now);
    this.#alone = !yes;
  }

  // `posted`: when the worker said so, by its clock.
  tick(posted) {
    const now = performance.now();
    if (now - this.#ticked > SLEPT) {
      this.#fold(this.#ticked);
      this.#start(now);
    }
    this.#ticked = now;
    this.#lateness.add(posted);
    this.#loaded ||= this.loaded();
    this.#hidden ||= document.hidden;
    if (now - this.#began >= (this.#alone ? ALONE : MINUTE)) this.#fold(now);
  }

  #start(now) {
    this.#sent.clear();
    this.#rtts = [];
    this.#lateness = new Lateness();
    this.#count = this.#answered = this.#refused = this.#unanswered = 0;
    this.#loaded = this.#hidden = false;
    this.#began = now;
  }

  #fold(end) {
    const result = this.#alone ? this.#withoutHub() : this.#withHub(end);
    const began = Date.now() + this.#offset - (performance.now() - this.#began);
    const conditions = {
      path: "page_hub",
      method: "websocket",
      agent_client: "browser",
      boot_id: this.bootId,
      agent_page_hidden: this.#hidden,
    };
    if (this.#loaded) conditions.under_load = true;
    if (result) {
      this.record({
        id: name(),
        office: this.office,
        probe: "latency",
        started_at: new Date(began).toISOString(),
        duration_seconds: round((end - this.#began) / 1000),
        outcome: "ok",
        cause: null,
        ...result,
        conditions: { ...conditions, ...result.conditions },
      });
    }
    this.#start(performance.now());
  }

  #withHub(end) {
    // What was sent last may still be answered: it belongs to nobody.
    const late = [...this.#sent.values()].filter((at) => end - at < TIMEOUT).length;
    const sent = this.#count - late;
    if (sent <= 0) return null;
    const lag = this.#lateness.summary()?.loop_lag_p75;
    const conditions = lag === undefined ? {} : { agent_loop_lag_p75_seconds: round(lag) };
    const trips = lag > LATE ? {} : delays(this.#rtts); // else they are rather the page's
    const values = { sent, received: Math.min(sent, this.#answered), ...trips };
    if (this.#answered) return { values, conditions };
    return { outcome: "failed", cause: "no_reply", values, conditions };
  }

  #withoutHub() {
    if (!navigator.onLine) {
      return { outcome: "no_data", cause: "not_sent", conditions: { detail: "this computer is offline" } };
    }
    if (this.#unanswered) {
      const values = { sent: this.#unanswered, received: 0 };
      return { outcome: "failed", cause: "no_reply", values };
    }
    if (this.#refused) {
      return { outcome: "no_data", cause: "not_sent", conditions: { detail: "the hub's computer refused the connection" } };
    }
    return null;
  }
}

function delays(rtts) {
  if (!rtts.length) return {};
  const sorted = [...rtts].sort((a, b) => a - b);
  return {
    rtt_min_seconds: round(sorted[0]),
    rtt_p50_seconds: round(percentile(sorted, 0.5)),
    rtt_p95_seconds: round(percentile(sorted, 0.95)),
    rtt_max_seconds: round(sorted.at(-1)),
  };
}

const round = (number) => Math.round(number * PLACES) / PLACES;

// 32 hexadecimal digits; `crypto.randomUUID` is missing on plain HTTP.
export function name() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
