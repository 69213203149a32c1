// The session of the page with the hub (wire/protocol.py): one WebSocket, the channels in it, and
// the way back after an outage. It knows nothing of what the page shows.

const PROTOCOL = 1;
const HEARTBEAT_TICKS = 8; // of a quarter of a second
const SILENCE = 12000;
const CONNECT_SILENCE = 8000;
const BUSY_SILENCE = 36000; // while a test runs, whose own data may fill the line
const RETRY = [1000, 2000, 5000, 10000];
const NOT_NEEDED_RETRY = 30000;
const REFUSED_AT_ONCE = 1500; // somebody answered: the line works
const CLOSED = { 4401: "refused", 4408: "elsewhere", 4409: "not_needed" };
const MOST_WAITING = 1000;
// These tasks use the page's camera or one of its workers. Others may run several at the same time.
const ONE_AT_A_TIME = ["bandwidth", "conference"];

export class Channel {
  #came = new Map();
  #waiting = new Map();
  #requests = [];
  #next = null;
  ended = "";

  constructor(id, send) {
    this.id = id;
    this.send = send;
    this.over = new Promise((resolve) => (this.finish = resolve));
  }

  say(type, fields) {
    this.answer({ type, ...fields });
  }

  answer(data) {
    if (!this.ended) this.send({ type: "channel", id: this.id, data });
  }

  // The message of that type; each arrives once.
  hear(type, milliseconds) {
    if (this.#came.has(type)) return Promise.resolve(this.#came.get(type));
    if (this.ended) return Promise.reject(new Error(this.ended));
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`no ${type} within ${milliseconds} ms`));
      this.#waiting.set(type, { resolve, reject });
      setTimeout(late, milliseconds);
    });
  }

  // The next message without a type; rejected when the channel has ended.
  next() {
    if (this.#requests.length) return Promise.resolve(this.#requests.shift());
    if (this.ended) return Promise.reject(new Error(this.ended));
    return new Promise((resolve, reject) => (this.#next = { resolve, reject }));
  }

  has(type) {
    return this.#came.has(type);
  }

  // The newest of a type that comes again and again.
  newest(type) {
    return this.#came.get(type) ?? null;
  }

  check() {
    if (this.ended) throw new Error(this.ended);
  }

  take(data) {
    if (data.type) {
      this.#came.set(data.type, data);
      this.#waiting.get(data.type)?.resolve(data);
    } else if (this.#next) {
      this.#next.resolve(data);
      this.#next = null;
    } else if (this.#requests.length < MOST_WAITING) {
      this.#requests.push(data);
    }
  }

  end(why) {
    this.ended ||= why || "closed";
    for (const { reject } of this.#waiting.values()) reject(new Error(this.ended));
    this.#next?.reject(new Error(this.ended));
    this.#next = null;
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

// `on` handles the events: `state(name)`, `open(channel, task, params)`, `welcome()`,
// `beat(frame)`, `ack(frame)`, `sent(n)` for each heartbeat, `attempt(answered)` for each attempt
// that failed, and `spooled()`, the number of measurements that wait.
export class Session {
  #channels = new Map(); // of this session, by number
  #running = new Set(); // those whose task has not ended, of earlier sessions too
  #failures = 0;
  #ticks = 0;
  #socket = null;
  #retryAt = null;
  #began = 0;

  constructor({ office, token, bootId, features }, on) {
    this.office = office;
    this.token = token;
    this.bootId = bootId;
    this.features = features;
    this.on = on;
  }

  // Whether it is connected, or tries to be.
  get alive() {
    return this.#socket !== null || this.#retryAt !== null;
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const base = document.body.dataset.base;
    const url = `${scheme}://${location.host}${base}/agent?office=${encodeURIComponent(this.office)}`;
    this.#retryAt = null;
    let socket;
    try {
      socket = new WebSocket(url, ["jharnet", `bearer.${this.token}`]);
    } catch {
      this.on.state("refused"); // the token has characters that no token has
      return;
    }
    this.#socket = socket;
    this.heard = this.#began = performance.now();
    socket.onopen = () => this.send({
      type: "hello",
      protocol: PROTOCOL,
      version: "browser",
      features: this.features,
      ...this.#vitals(),
    });
    socket.onmessage = ({ data }) => socket === this.#socket && this.#take(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.#socket && this.lost(code);
  }

  #vitals() {
    const uptime = Math.round(performance.now() / 100) / 10;
    const spooled = this.on.spooled();
    return { kind: "browser", boot_id: this.bootId, uptime_seconds: uptime, spooled };
  }

  send(frame) {
    if (this.open) this.#socket.send(JSON.stringify(frame));
    return this.open;
  }

  #take(frame) {
    this.heard = performance.now();
    const channel = this.#channels.get(frame.id);
    if (frame.type === "welcome") {
      this.#failures = 0;
      this.welcome = true;
      this.on.welcome();
    } else if (frame.type === "open") {
      this.#open(frame);
    } else if (frame.type === "channel") {
      channel?.take(frame.data);
    } else if (frame.type === "closed") {
      channel?.end(frame.why);
    } else if (frame.type === "beat") {
      this.on.beat(frame);
    } else if (frame.type === "checked") {
      this.on.checked();
    } else if (frame.type === "ack") {
      this.on.ack(frame);
    }
  }

  async #open({ id, task, params }) {
    const channel = new Channel(id, (frame) => this.send(frame));
    const before = ONE_AT_A_TIME.includes(task) ? [...this.#running] : [];
    const same = before.filter((other) => other.task === task);
    if (same.some((other) => !other.ended)) {
      channel.close(`busy with another ${task}`);
      return;
    }
    channel.task = task;
    this.#channels.set(id, channel);
    this.#running.add(channel);
    channel.done = new Promise((resolve) => (channel.finished = resolve));
    try {
      await Promise.all(same.map((other) => other.done)); // which have ended, and clear up
      await this.on.open(channel, task, params);
    } catch (error) {
      channel.close(`failed: ${error.message}`.slice(0, 200));
    } finally {
      channel.close("done");
      this.#running.delete(channel);
      // the next session numbers its channels from 1 again
      if (this.#channels.get(id) === channel) this.#channels.delete(id);
      channel.finished();
    }
  }

  // Four times a second, by a clock that is not slowed down in a hidden page.
  tick() {
    this.#ticks += 1;
    const now = performance.now();
    if (this.#retryAt !== null && now >= this.#retryAt) this.connect();
    if (!this.#socket) return;
    if (this.#ticks % HEARTBEAT_TICKS === 0 && this.welcome) {
      if (this.send({ type: "heartbeat", n: this.#ticks, ...this.#vitals() })) {
        this.on.sent(this.#ticks);
      }
    }
    if (now - this.heard > this.#patience()) this.lost(0);
  }

  #patience() {
    if (!this.welcome) return CONNECT_SILENCE;
    return this.#channels.size ? BUSY_SILENCE : SILENCE;
  }

  // The session ended: the hub gave a reason, or the line failed.
  lost(code) {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) socket.close();
    if (!this.welcome && !(code in CLOSED)) {
      this.on.attempt(performance.now() - this.#began < REFUSED_AT_ONCE);
    }
    this.welcome = false;
    this.#channels.clear();
    for (const channel of this.#running) channel.end("the session was lost");
    const state = CLOSED[code] ?? "lost";
    this.on.state(state);
    if (state === "refused" || state === "elsewhere") return;
    const retry = RETRY[Math.min(this.#failures, RETRY.length - 1)];
    this.#failures += 1;
    const wait = state === "not_needed" ? NOT_NEEDED_RETRY : retry * (0.5 + Math.random() / 2);
    this.#retryAt = performance.now() + wait;
  }

  // The computer has slept, or says that it has a network again: the old connection is dead.
  renew() {
    if (this.#retryAt !== null) this.#retryAt = performance.now();
    else if (this.#socket && performance.now() - this.heard > SILENCE / 2) this.lost(0);
  }

  // Says goodbye and ends every running test; resolves when all have ended.
  async leave() {
    this.send({ type: "goodbye", boot_id: this.bootId });
    const socket = this.#socket;
    this.#socket = this.#retryAt = null;
    this.welcome = false;
    const running = [...this.#running];
    for (const channel of running) channel.end("the page left");
    socket?.close();
    await Promise.all(running.map((channel) => channel.done));
  }
}
