// The join page: an agent in a browser. It implements the hub-agent protocol (wire/protocol.py) and
// shows its state; all texts are in the page.

import { Bandwidth, echo } from "./join-bandwidth.js";
import { conference } from "./join-call.js";
import { Check } from "./join-check.js";
import { datagrams } from "./join-datagrams.js";
import { Keep } from "./join-keep.js";
import { Latency, name } from "./join-latency.js";
import { Media } from "./join-media.js";
import { Session } from "./join-session.js";
import { visit } from "./join-visit.js";

const RENEW_TICKS = 240; // of a quarter of a second
const RENEW_PATIENCE = 45000; // milliseconds, so that no request waits when the next one begins
const SLEPT = 10000;

const page = document.getElementById("join");
const screen = document.getElementById("screen");
const { office } = page.dataset;
const stored = `jharnet-token-${office}`;
const fromLink = new URLSearchParams(location.hash.slice(1)).get("t");
const token = fromLink ?? remembered();

function remembered() {
  try {
    return localStorage.getItem(stored);
  } catch {
    return null; // a browser may forbid it
  }
}

function remember(value) {
  try {
    if (value) localStorage.setItem(stored, value);
    else localStorage.removeItem(stored);
  } catch {
    // The link works without it.
  }
}

let check = null;
let findings = null; // of the devices, until headquarters has them

// Shows the texts of one state and hides the others.
function show(state) {
  page.dataset.state = state;
  check?.setBusy(state === "testing");
  for (const part of page.querySelectorAll("[data-in]")) {
    part.hidden = !part.dataset.in.split(" ").includes(state);
  }
}

// Shows a remark beside the state, or hides it.
function remark(which, shown) {
  for (const part of page.querySelectorAll(`[data-remark=${which}]`)) part.hidden = !shown;
}

class Agent {
  constructor() {
    this.worker = new Worker(page.dataset.worker, { type: "module" });
    this.transferWorker = new Worker(page.dataset.transfer);
    this.media = new Media(this.worker);
    this.waiters = [];
    this.lag = 0; // the longest of the worker's timers since a call last asked
    this.ticks = 0;
    this.ticked = performance.now();
    this.running = 0;
    const own = { office, token, bootId: name() };
    const features = ["bandwidth", "echo", "visit", ...(canCall ? ["conference", "datagrams"] : [])];
    this.session = new Session({ ...own, features }, this);
    this.keep = new Keep(office, (frame) => this.session.welcome && this.session.send(frame));
    this.latency = new Latency(own, (one) => this.keep.put(one), () => this.running > 0);
    this.bandwidth = new Bandwidth(this.transferWorker, office, token);
    this.worker.onmessage = ({ data }) => {
      if (data === "frame") this.media.frame?.();
      else if ("lag" in data) this.tick(data);
    };
  }

  // `clicked`: the browser lets a page make sound, and ask for devices.
  async join(clicked) {
    show("connecting");
    if (clicked) this.media.ask(); // nobody may answer: the session does not wait
    await this.media.wake();
    remark("silent", !this.media.sounds);
    this.stayAwake();
    this.session.connect();
  }

  // Events of the session.

  state(state) {
    this.latency.reached(false);
    if (state === "refused") remember(null);
    show(state);
  }

  welcome() {
    remember(token);
    this.latency.reached(true);
    this.keep.again();
    show("waiting");
    this.sendFindings();
  }

  // Sends what a check of the devices found; without a session, the next one does.
  sendFindings() {
    if (findings && this.session.welcome) this.session.send({ type: "device_check", findings });
  }

  checked() {
    findings = null;
    check.showReceived(true);
    setTimeout(renew, 1000);
  }

  beat(frame) {
    this.latency.beat(frame);
  }

  sent(n) {
    this.latency.sent(n);
  }

  attempt(refused) {
    this.latency.attempt(refused);
  }

  ack(frame) {
    this.keep.acknowledged(frame);
  }

  spooled() {
    return this.keep.waiting;
  }

  async open(channel, task, params) {
    if (task === "echo") return echo(channel);
    if (task === "visit") return visit(channel, params, page.dataset.visits.split(" ").filter(Boolean));
    if (task === "datagrams" && canCall) return datagrams(channel, this.worker);
    if (task !== "bandwidth" && !(task === "conference" && canCall)) {
      channel.close(`this page has no ${task}`);
      return undefined;
    }
    this.running += 1;
    show("testing");
    await check?.interrupt();
    screen.hidden = task !== "conference";
    try {
      if (task === "bandwidth") await this.bandwidth.run(channel);
      else await this.call(channel, params);
    } finally {
      this.running -= 1;
      if (page.dataset.state === "testing") show("waiting");
      setTimeout(renew, 1000);
    }
    return undefined;
  }

  call(channel, params) {
    this.lag = 0;
    const next = () => new Promise((resolve) => this.waiters.push(resolve));
    return conference(channel, params, { media: this.media, screen, tick: next });
  }

  tick({ lag, at }) {
    this.ticks += 1;
    const now = performance.now();
    this.lag = Math.max(this.lag, lag);
    if (this.waiters.length) {
      this.waiters.splice(0).forEach((resolve) => resolve(this.lag));
      this.lag = 0;
    }
    if (now - this.ticked > SLEPT) this.session.renew();
    this.ticked = now;
    if (this.session.alive) this.latency.tick(at);
    this.session.tick();
    if (this.ticks % RENEW_TICKS === 0) renew();
  }

  leave() {
    this.left = true;
    return this.session.leave();
  }

  // Ends this agent for good, because another begins. Workers end after the tests that use them.
  async end() {
    await this.leave();
    this.worker.terminate();
    this.transferWorker.terminate();
    this.media.close();
    this.keep.close();
    this.lock?.release();
  }

  back() {
    if (this.left) {
      this.left = false;
      show("connecting");
      this.session.connect();
    }
  }

  async stayAwake() {
    try {
      this.lock = await navigator.wakeLock?.request("screen");
    } catch {
      // The page is hidden or the battery low; the test continues anyway.
    }
  }
}

// Fetches the parts of the page with the newest result, and whether the office is ready.
async function renew() {
  try {
    const headers = { Accept: "text/html", Authorization: `Bearer ${token}` };
    const signal = AbortSignal.timeout(RENEW_PATIENCE);
    const answer = await fetch(location.pathname, { headers, signal });
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || !next.getElementById("result")) return;
    for (const part of ["result", "ready"]) {
      const [now, then] = [document, next].map((one) => one.getElementById(part));
      if (now.innerHTML !== then.innerHTML) now.replaceChildren(...then.childNodes);
    }
    document.title = next.title;
    remark("outdated", next.getElementById("join").dataset.visits !== page.dataset.visits);
  } catch {
    // The state above already shows that the line is down.
  }
}

// Lets the page start while the line is down, and be installed. Only in a secure context, and only
// where this computer knows the hub's certificate.
async function install() {
  try {
    await navigator.serviceWorker?.register(page.dataset.service, { scope: `${document.body.dataset.base}/join/` });
  } catch {
    remark("untrusted", window.isSecureContext);
  }
}

// The other language keeps the token, which is never sent.
for (const link of document.querySelectorAll("a.language")) link.hash = location.hash;

const canCall = "RTCPeerConnection" in window && "captureStream" in HTMLCanvasElement.prototype
  && "setCodecPreferences" in (window.RTCRtpTransceiver?.prototype ?? {});
const able = "WebSocket" in window && "indexedDB" in window;
show(!token ? "no_token" : able ? "idle" : "unable");
remark("no_call", token && able && !canCall);
remark("insecure", token && able && !window.isSecureContext);

let agent = null;
const devices = document.getElementById("check");
if (devices) {
  check = new Check(devices, {
    canCall,
    worker: page.dataset.worker,
    onFindings: (found) => {
      findings = found;
      check.showReceived(false);
      agent?.sendFindings();
    },
  });
}

if (token && able) {
  const start = (clicked) => {
    agent?.end();
    agent = new Agent();
    agent.join(clicked);
  };
  document.getElementById("go").addEventListener("click", () => start(true));
  // A browser lets a page make sound after the first click anywhere on it.
  document.addEventListener("click", async () => {
    await agent?.media.wake();
    if (agent) remark("silent", !agent.media.sounds);
  });
  if (remembered() === token) start(false);
  install();
  // Where reading needs an account, only a page with the office's token may show its state.
  if (!document.getElementById("result").childElementCount) renew();
  addEventListener("online", () => agent?.session.renew());
  addEventListener("pagehide", () => agent?.leave());
  addEventListener("pageshow", ({ persisted }) => persisted && agent?.back());
  document.addEventListener("visibilitychange", () => {
    if (agent && !document.hidden) agent.stayAwake();
  });
}
