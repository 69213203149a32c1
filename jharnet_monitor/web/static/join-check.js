// The check of camera, microphone, loudspeaker and computer before a conference, which a person starts.
// Nothing is recorded; only the findings leave the page.

import { MicrophoneMeter, judgePicture, openDevice, pause, playTone, stop } from "./join-devices.js";
import { Media } from "./join-media.js";
import { judgeProcessor } from "./join-processor.js";

const ANSWER = 60000; // ms for a person to say whether the tone was heard
const CAMERA = { video: { width: 640, height: 480 } };
const UNPROCESSED = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

export class Check {
  #stopped = false;
  #testing = null; // the test of the computer, while it runs
  #running = false;
  #busy = false;

  // `canCall`: the browser can hold a call, so the computer can be tested. `onFindings(findings)` is
  // called at the end.
  constructor(part, { canCall, worker, onFindings }) {
    this.part = part;
    this.canCall = canCall;
    this.worker = worker;
    this.onFindings = onFindings;
    this.button = part.querySelector("#check-go");
    this.picture = part.querySelector("#check-picture");
    this.level = part.querySelector("#check-level");
    this.button.addEventListener("click", () => this.run());
    part.hidden = false;
  }

  // Stops the test of the computer, because a test of the line begins and must not share the
  // computer. Resolves when it has stopped.
  interrupt() {
    this.#stopped = true;
    return this.#testing;
  }

  // While a test of the line runs (`yes`), no check can begin.
  setBusy(yes) {
    this.#busy = yes;
    this.#lock();
  }

  // Shows whether headquarters has received the findings.
  showReceived(yes) {
    for (const one of this.part.querySelectorAll("[data-receipt]")) {
      one.hidden = one.dataset.receipt !== (yes ? "received" : "not_received");
    }
  }

  async run() {
    this.#running = true;
    this.#stopped = false;
    this.#lock();
    for (const one of this.part.querySelectorAll("[data-device], [data-receipt]")) one.hidden = true;
    const sound = new AudioContext();
    try {
      this.onFindings(await this.#findings(sound));
    } finally {
      this.#step(null);
      sound.close();
      this.#running = false;
      this.#lock();
    }
  }

  async #findings(sound) {
    const found = {};
    const note = (device, finding) => {
      found[device] = finding;
      this.#show(device, finding);
    };
    const resumed = sound.resume();
    this.#step("asking");
    const camera = await openDevice(CAMERA);
    const microphone = await openDevice({ audio: UNPROCESSED });
    await Promise.race([resumed, pause(1000)]);
    const sounds = sound.state === "running";
    const meter = sounds && microphone.stream ? new MicrophoneMeter(sound, microphone.stream) : null;
    try {
      if (camera.stream || meter) this.#step("speak");
      const [seen, heard] = await Promise.all([this.#look(camera), this.#listen(microphone, meter)]);
      note("camera", seen);
      note("microphone", heard);
      this.#step("tone");
      note("echo", sounds ? await playTone(sound, meter) : "not_tried");
    } finally {
      meter?.close();
      stop(camera.stream);
      stop(microphone.stream);
    }
    note("loudspeaker", sounds ? await this.#asked() : "not_played");
    this.#step("wait");
    this.#testing = this.canCall ? this.#processor() : "not_tested";
    note("processor", await this.#testing);
    this.#testing = null;
    return found;
  }

  async #look({ stream, finding }) {
    if (!stream) return finding;
    this.picture.srcObject = stream;
    this.picture.hidden = false;
    this.picture.play().catch(() => {});
    try {
      return await judgePicture(this.picture);
    } finally {
      this.picture.hidden = true;
      this.picture.srcObject = null;
    }
  }

  async #listen({ finding }, meter) {
    if (!meter) return finding ?? "busy";
    this.level.hidden = false;
    try {
      return await meter.judge((peak) => (this.level.value = peak));
    } finally {
      this.level.hidden = true;
    }
  }

  // What the person says about the tone.
  #asked() {
    this.#step("asks_heard");
    const yes = this.part.querySelector("#check-yes");
    yes.focus();
    return new Promise((resolve) => {
      yes.onclick = () => resolve("heard");
      this.part.querySelector("#check-no").onclick = () => resolve("not_heard");
      setTimeout(resolve, ANSWER, "not_answered");
    });
  }

  async #processor() {
    const worker = new Worker(this.worker, { type: "module" });
    const media = new Media(worker);
    const { width, height, video, codec, mostStalled } = this.part.dataset;
    const wanted = {
      width: Number(width),
      height: Number(height),
      video: Number(video),
      codec,
      mostStalled: Number(mostStalled),
    };
    let ticked = () => {};
    worker.onmessage = ({ data }) => (data === "frame" ? media.frame?.() : ticked());
    const tick = () => new Promise((resolve) => (ticked = resolve));
    try {
      await media.wake();
      return await judgeProcessor(wanted, { media, tick, stopped: () => this.#stopped });
    } catch {
      return "not_tested";
    } finally {
      media.close();
      worker.terminate();
    }
  }

  #show(device, finding) {
    const line = this.part.querySelector(`[data-device=${device}]`);
    for (const one of line.querySelectorAll("[data-finding]")) {
      one.hidden = one.dataset.finding !== finding;
    }
    line.hidden = finding === "not_tried";
  }

  #step(name) {
    for (const one of this.part.querySelectorAll("[data-step]")) {
      one.hidden = one.dataset.step !== name;
    }
  }

  #lock() {
    this.button.disabled = this.#running || this.#busy;
  }
}
