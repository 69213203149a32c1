// What the page has measured waits in the browser's own database until the hub has stored it, over
// outages and restarts of the browser. Each measurement has an id, so the hub takes it once.

const BATCH = 100;
const MOST = 20000; // two weeks of one a minute; beyond it the oldest are deleted
const LATEST = 60000; // for an acknowledgement, before the batch is sent again

export class Keep {
  #sent = 0;
  waiting = 0;

  // `send(frame)` hands a frame to the hub.
  constructor(office, send) {
    this.send = send;
    this.ready = opened(`jharnet-${office}`);
  }

  async put(measurement) {
    const store = await this.#store("readwrite");
    store?.put(measurement);
    await this.#count();
    this.handIn();
  }

  // Sends the oldest, if nothing is on its way.
  async handIn() {
    if (performance.now() < this.#sent + LATEST && this.#sent) return;
    this.#sent = performance.now();
    const store = await this.#store("readonly");
    const items = store ? await asked(store.getAll(null, BATCH)) : [];
    if (!items.length || !this.send({ type: "measurements", items })) {
      this.#sent = 0;
    }
  }

  // The hub has stored these, or will never take them.
  async acknowledged({ ids, refused }) {
    this.#sent = 0;
    const store = await this.#store("readwrite");
    if (!store) return;
    const index = store.index("id");
    for (const id of [...(ids ?? []), ...(refused ?? []).map((one) => one.id)]) {
      const key = await asked(index.getKey(id));
      if (key !== undefined) store.delete(key);
    }
    await this.#count();
    if (this.waiting) this.handIn();
  }

  // The session is new: what was sent in the old one may not have arrived.
  again() {
    this.#sent = 0;
    this.handIn();
  }

  async close() {
    (await this.ready.catch(() => null))?.close();
  }

  async #count() {
    const store = await this.#store("readwrite");
    if (!store) return;
    this.waiting = await asked(store.count());
    if (this.waiting <= MOST) return;
    const oldest = await asked(store.getAllKeys(null, this.waiting - MOST));
    for (const key of oldest) store.delete(key);
    this.waiting = MOST;
  }

  async #store(mode) {
    try {
      return (await this.ready).transaction("measurements", mode).objectStore("measurements");
    } catch {
      return null; // a private window may have no database: then nothing is stored
    }
  }
}

function opened(name) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      const store = request.result.createObjectStore("measurements", { autoIncrement: true });
      store.createIndex("id", "id", { unique: true });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function asked(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

