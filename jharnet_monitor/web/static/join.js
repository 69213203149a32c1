// The join page: an agent in a browser. It implements the hub-agent protocol (wire/protocol.py) and
// shows its state; all texts are in the page.

import { conference } from "./join-call.js";
import { Media } from "./join-media.js";

const PROTOCOL = 1;
const HEARTBEAT_TICKS = 8; // of a quarter of a second
const SILENCE = 12000;
const RETRY = [1000, 2000, 5000, 10000];
const NOT_NEEDED_RETRY = 30000;
const CLOSED = { 4401: "refused", 4408: "elsewhere", 4409: "not_needed" };

const page = document.getElementById("join");
const screen = document.getElementById("screen");
const token = new URLSearchParams(location.hash.slice(1)).get("t");
const bootId = crypto.randomUUID?.() ?? `page-${Math.random().toString(36).slice(2)}`;

// Shows the texts of one state and hides the others.
function show(state) {
  page.dataset.state = state;
  for (const part of page.querySelectorAll("[data-in]")) {
    part.hidden = !part.dataset.in.split(" ").includes(state);
  }
}

class Channel {
  #came = new Map();
  #waiting = new Map();
  ended = "";

  constructor(id, send) {
    this.id = id;
    this.send = send;
    this.over = new Promise((resolve) => (this.finish = resolve));
  }

  say(type, fields) {
    if (!this.ended) this.send({ type: "channel", id: this.id, data: { type, ...fields } });
  }

  // The message of that type; each arrives once.
  hear(type, milliseconds) {
    if (this.#came.has(type)) return Promise.resolve(this.#came.get(type));
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`no ${type} within ${milliseconds} ms`));
      this.#waiting.set(type, { resolve, reject });
      setTimeout(late, milliseconds);
    });
  }

  has(type) {
    return this.#came.has(type);
  }

  check() {
    if (this.ended) throw new Error(this.ended);
  }

  take(data) {
    this.#came.set(data.type, data);
    this.#waiting.get(data.type)?.resolve(data);
  }

  end(why) {
    this.ended ||= why || "closed";
    for (const { reject } of this.#waiting.values()) reject(new Error(this.ended));
    this.finish();
  }

  untilEnded(milliseconds) {
    return Promise.race([this.over, new Promise((resolve) => setTimeout(resolve, milliseconds))]);
  }

  close(why) {
    if (!this.ended) this.send({ type: "closed", id: this.id, why });
    this.end(why);
  }
}

class Agent {
  constructor() {
    this.worker = new Worker(page.dataset.worker);
    this.media = new Media(this.worker);
    this.waiters = [];
    this.ticks = 0;
    this.failures = 0;
    this.channels = new Map();
    this.worker.onmessage = () => this.tick();
  }

  async join() {
    show("connecting");
    await this.media.ask();
    this.stayAwake();
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const url = `${scheme}://${location.host}/agent?office=${encodeURIComponent(page.dataset.office)}`;
    let socket;
    try {
      socket = new WebSocket(url, ["jharnet", `bearer.${token}`]);
    } catch {
      show("refused"); // the token has characters that no token has
      return;
    }
    this.socket = socket;
    this.heard = performance.now();
    socket.onopen = () => this.send({
      type: "hello",
      protocol: PROTOCOL,
      version: "browser",
      features: ["conference"],
      ...this.vitals(),
    });
    socket.onmessage = ({ data }) => socket === this.socket && this.take(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.socket && this.lost(code);
  }

  vitals() {
    const uptime = Math.round(performance.now() / 100) / 10;
    return { kind: "browser", boot_id: bootId, uptime_seconds: uptime, spooled: 0 };
  }

  send(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  take(frame) {
    this.heard = performance.now();
    const channel = this.channels.get(frame.id);
    if (frame.type === "welcome") {
      this.failures = 0;
      show("waiting");
    } else if (frame.type === "open") {
      this.open(frame);
    } else if (frame.type === "channel") {
      channel?.take(frame.data);
    } else if (frame.type === "closed") {
      channel?.end(frame.why);
    }
  }

  async open({ id, task, params }) {
    const channel = new Channel(id, (frame) => this.send(frame));
    if (task !== "conference" || this.channels.size > 0) {
      channel.close(task === "conference" ? "busy with another call" : `this page has no ${task}`);
      return;
    }
    this.channels.set(id, channel);
    show("testing");
    const next = () => new Promise((resolve) => this.waiters.push(resolve));
    try {
      await conference(channel, params, { media: this.media, screen, tick: next });
    } finally {
      this.channels.delete(id);
      if (page.dataset.state === "testing") show("waiting");
      setTimeout(renew, 1000);
    }
  }

  tick() {
    this.ticks += 1;
    this.waiters.splice(0).forEach((resolve) => resolve());
    if (!this.socket) return;
    if (this.ticks % HEARTBEAT_TICKS === 0) this.send({ type: "heartbeat", ...this.vitals() });
    if (performance.now() - this.heard > SILENCE) this.lost(0);
    if (this.ticks % 240 === 0) renew();
  }

  // The session ended: the hub gave a reason, or the line failed.
  lost(code) {
    const socket = this.socket;
    this.socket = null;
    if (socket) socket.close();
    for (const channel of this.channels.values()) channel.end("the session was lost");
    const state = CLOSED[code] ?? "lost";
    show(state);
    if (state === "refused" || state === "elsewhere") return;
    const retry = RETRY[Math.min(this.failures, RETRY.length - 1)];
    this.failures += 1;
    this.again(state === "not_needed" ? NOT_NEEDED_RETRY : retry * (0.5 + Math.random() / 2));
  }

  // Waits by the worker's clock, which is not slowed down.
  async again(milliseconds) {
    const until = performance.now() + milliseconds;
    while (performance.now() < until) await new Promise((resolve) => this.waiters.push(resolve));
    if (!this.socket && !this.left) this.connect();
  }

  leave() {
    this.left = true;
    this.send({ type: "goodbye", boot_id: bootId });
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  back() {
    if (this.left) {
      this.left = false;
      show("connecting");
      this.connect();
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

// Fetches the part of the page with the newest result.
async function renew() {
  try {
    const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const result = next.getElementById("result");
    if (answer.ok && result) document.getElementById("result").replaceChildren(...result.childNodes);
  } catch {
    // The state above already shows that the line is down.
  }
}

// The other language keeps the token, which is never sent.
for (const link of document.querySelectorAll("a.language")) link.hash = location.hash;

const able = window.isSecureContext && "MediaStreamTrackGenerator" in window
  && "RTCPeerConnection" in window;
show(!token ? "no_token" : able ? "idle" : "unable");

if (token && able) {
  let agent = null;
  document.getElementById("go").addEventListener("click", () => {
    agent?.leave();
    agent = new Agent();
    agent.join();
  });
  addEventListener("pagehide", () => agent?.leave());
  addEventListener("pageshow", ({ persisted }) => persisted && agent?.back());
  document.addEventListener("visibilitychange", () => {
    if (agent && !document.hidden) agent.stayAwake();
  });
}
