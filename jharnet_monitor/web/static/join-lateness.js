// How late the page's thread handles what comes to it. The worker posts the time; while the page
// computes, its thread handles that later, and so it does a datagram or a heartbeat, whose round trip
// then contains that time.

// With more in a quarter of the samples, in seconds, no round trip is given; for datagrams the hub
// decides so (`MAX_LAG_P75` in probes/latency/page.py).
export const LATE = 0.003;

export class Lateness {
  #differences = [];

  // `posted` is of the worker's clock: it began at another time than the page's, but is as fast.
  add(posted) {
    this.#differences.push(performance.now() - posted);
  }

  // The longest lag and the upper quartile, in seconds; null if nothing was posted.
  summary() {
    const sorted = this.#differences.sort((a, b) => a - b);
    if (!sorted.length) return null;
    const lag = (share) => (percentile(sorted, share) - sorted[0]) / 1000;
    return { loop_lag: lag(1), loop_lag_p75: lag(0.75) };
  }
}

const LONGEST_GAP = 75; // between two times that the worker posts, in ms

let series = 0;

// Samples the lag about every 50 ms, from now until `end` is called. While the whole browser stands
// still the worker posts nothing, so a gap counts as a lag, too.
export class LatenessSeries {
  #lateness = new Lateness();
  #posted = null;
  #gap = 0;
  #number = (series += 1);
  #ended = false;

  constructor(worker) {
    this.worker = worker;
    this.last = new Promise((resolve) => (this.finish = resolve));
    worker.addEventListener("message", this);
    worker.postMessage({ stamps: this.#number });
  }

  handleEvent({ data }) {
    if (data.stamp !== this.#number) return;
    this.#lateness.add(data.at);
    this.#gap = Math.max(this.#gap, data.at - (this.#posted ?? data.at) - LONGEST_GAP);
    this.#posted = data.at;
    if (data.last) {
      this.worker.removeEventListener("message", this);
      const { loop_lag, loop_lag_p75 } = this.#lateness.summary();
      this.finish({ loop_lag: Math.max(loop_lag, this.#gap / 1000), loop_lag_p75 });
    }
  }

  // The summary, once everything posted until now has been handled.
  end() {
    if (!this.#ended) this.worker.postMessage({ last: this.#number });
    this.#ended = true;
    return this.last;
  }
}

// Type 7 of Hyndman and Fan, as the hub computes it.
export function percentile(sorted, share) {
  const position = share * (sorted.length - 1);
  const low = Math.floor(position);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (position - low);
}
