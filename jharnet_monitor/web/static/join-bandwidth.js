// The page's half of the bandwidth probe (probes/bandwidth/agent.py): it answers the hub's requests
// one by one. Data are moved by a worker of its own, which a hidden page does not slow down.

const PREFIX = "/agent/transfer/";
const MOST_CONNECTIONS = 8;
const MOST_SECONDS = 30;
const MOST_BYTES = 2 ** 29;

export class Bandwidth {
  #waiting = new Map();
  #number = 0;

  constructor(worker, office, token) {
    this.worker = worker;
    this.headers = { Authorization: `Bearer ${token}` };
    this.query = `?office=${encodeURIComponent(office)}`;
    worker.onmessage = ({ data }) => {
      this.#waiting.get(data.number)?.(data.report);
      this.#waiting.delete(data.number);
    };
  }

  async run(channel) {
    while (!channel.ended) {
      const message = await channel.next().catch(() => null);
      if (!message) break;
      channel.answer({ ...(await this.#answer(message, channel)), re: message.re });
    }
    this.worker.postMessage({ stop: true });
  }

  #answer(message, channel) {
    if (message.do === "ping") return { pong: message.n };
    if (message.do === "download" || message.do === "upload") {
      return Promise.race([this.#transfer(message), channel.over.then(() => ({}))]);
    }
    return { error: "a page in a browser has no datagrams" };
  }

  #transfer({ do: direction, paths, seconds, bytes }) {
    const right = Array.isArray(paths) && paths.length <= MOST_CONNECTIONS
      && paths.every((path) => String(path).startsWith(PREFIX));
    if (!right || !(seconds > 0)) return { error: "a transfer needs its paths and its time" };
    this.#number += 1;
    const order = {
      number: this.#number,
      direction,
      urls: paths.map((path) => document.body.dataset.base + path + this.query),
      headers: this.headers,
      seconds: Math.min(seconds, MOST_SECONDS),
      bytes: Math.min(bytes || MOST_BYTES, MOST_BYTES),
    };
    return new Promise((resolve) => {
      this.#waiting.set(order.number, resolve);
      this.worker.postMessage(order);
    });
  }
}

// Sends each message back at once.
export async function echo(channel) {
  for (;;) {
    const message = await channel.next().catch(() => null);
    if (!message) return;
    channel.answer(message);
  }
}
