// Moves the data of a speed test over HTTP and counts what arrives (probes/bandwidth/http_agent.py).
// The hub ends a transfer by resetting its connections.
"use strict";

const POLL = 20;
const LATE = 50; // ms; woken up later than this, the computer did not keep up
const SPACING = 8; // ms between two points, as the hub counts
const MOST_POINTS = 250;
const BLOCK = 1 << 16;
const MSS = 1448;
const HEADER = 52; // IPv4 and TCP with time stamps

let running = null;

onmessage = async ({ data }) => {
  running?.abort();
  if (data.stop) return;
  const control = (running = new AbortController());
  const timer = setTimeout(() => control.abort(), data.seconds * 1000);
  const pace = new Pace();
  const report = data.direction === "download"
    ? await download(data, control.signal)
    : await upload(data, control.signal);
  clearTimeout(timer);
  postMessage({ number: data.number, report: { ...report, late: pace.end() } });
};

class Pace {
  constructor() {
    this.began = this.last = performance.now();
    this.late = 0;
    this.timer = setInterval(() => {
      const now = performance.now();
      this.late += Math.max(0, now - this.last - POLL - LATE);
      this.last = now;
    }, POLL);
  }

  end() {
    clearInterval(this.timer);
    return this.late / Math.max(1, performance.now() - this.began);
  }
}

async function download({ urls, headers }, signal) {
  const points = [];
  let payload = 0;
  const count = (bytes) => {
    payload += bytes;
    const now = performance.now();
    const last = points.at(-1);
    if (last && now - last[0] < SPACING) last[2] = payload;
    else points.push([now, 0, payload]);
  };
  const answers = await Promise.all(urls.map((url) => receive(url, { headers, signal }, count)));
  const wrong = answers.find((status) => status !== 200);
  if (wrong !== undefined) return { error: `the hub answered ${wrong}` };
  return { series: { mss: MSS, header: HEADER, points: thinned(points) } };
}

async function receive(url, options, count) {
  let status = "nothing";
  try {
    const answer = await fetch(url, { ...options, cache: "no-store" });
    status = answer.status;
    if (status !== 200) return status;
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      count(value.byteLength);
    }
  } catch {
    // The hub has reset it.
  }
  return status;
}

function thinned(points) {
  const step = Math.max(1, Math.ceil(points.length / MOST_POINTS));
  const chosen = points.filter((_, at) => at % step === 0 || at === points.length - 1);
  const first = chosen.length ? chosen[0][0] : 0;
  return chosen.map(([at, segments, bytes]) => [Math.round((at - first) * 100) / 100, segments, bytes]);
}

// A page cannot see what its kernel has sent: the hub counts what arrives, and knows why it ended.
async function upload({ urls, headers, bytes }, signal) {
  const body = random(bytes / urls.length);
  const options = { method: "POST", headers, signal, body, cache: "no-store" };
  await Promise.allSettled(urls.map((url) => fetch(url, options)));
  return {};
}

// Bytes that no device on the route can compress. All its parts are one block, stored once.
function random(bytes) {
  const block = new Blob([crypto.getRandomValues(new Uint8Array(BLOCK))]);
  return new Blob(Array(Math.max(1, Math.ceil(bytes / BLOCK))).fill(block));
}
