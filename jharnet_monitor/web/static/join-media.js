// What the office sends in a call: its camera and microphone, else a pattern and a tone. On plain
// HTTP a browser gives a page neither devices nor tracks made of frames: then the pattern is drawn on
// a canvas of the page.

import { grain, paint } from "./join-paint.js";

const PATIENCE = 5000; // for a camera that another program holds
const SOUND_PATIENCE = 1000;
const FRAMES_PER_SECOND = 30;

const draws = "MediaStreamTrackGenerator" in window && "MediaStreamTrackProcessor" in window;

export class Media {
  constructor(worker) {
    this.worker = worker;
    this.sound = null;
    this.frame = null; // draws one, when the worker says so
  }

  // Whether a call can have sound without a microphone.
  get sounds() {
    return this.sound?.state === "running";
  }

  // On the click: ask once for the devices and release them at once, so that no camera light is on
  // between tests. The tone needs the click, too.
  async ask() {
    await Promise.all([this.wake(), this.#ask({ video: true, audio: true })]);
  }

  // Without a click a browser may keep a page silent; then this ends soon, and without sound.
  async wake() {
    this.sound ??= new AudioContext();
    const late = new Promise((resolve) => setTimeout(resolve, SOUND_PATIENCE));
    await Promise.race([this.sound.resume(), late]);
  }

  // Ends all sound.
  close() {
    this.sound?.close();
  }

  async #ask(wanted) {
    try {
      const stream = await navigator.mediaDevices.getUserMedia(wanted);
      stream.getTracks().forEach((track) => track.stop());
    } catch {
      // Refused or missing: the pattern and the tone are used.
    }
  }

  // Starts both tracks of a call; `stop` stops them.
  async start(width, height) {
    const [camera, microphone] = await Promise.all([
      draws ? device("camera", { video: { width, height, frameRate: FRAMES_PER_SECOND } }) : null,
      device("microphone", { audio: true }),
    ]);
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const picture = draws ? this.#generated(width, height, camera) : this.#drawn(canvas);
    const tone = microphone ? null : this.#tone();
    return {
      video: picture,
      audio: microphone ?? tone.track,
      camera: Boolean(camera),
      microphone: Boolean(microphone),
      silent: !microphone && !this.sounds,
      resize: (wide, high) => {
        if (canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
      },
      stop: () => {
        this.frame = null;
        this.worker.postMessage({});
        for (const track of [picture, camera, microphone]) track?.stop();
        tone?.stop();
      },
    };
  }

  #generated(width, height, camera) {
    const generator = new MediaStreamTrackGenerator({ kind: "video" });
    const parts = { writable: generator.writable, width, height };
    if (camera) parts.camera = new MediaStreamTrackProcessor({ track: camera }).readable;
    this.worker.postMessage(parts, [parts.writable, ...(camera ? [parts.camera] : [])]);
    return generator;
  }

  // Every frame drawn is captured. (Asked for 30 a second, Firefox captures 19.)
  #drawn(canvas) {
    const draw = canvas.getContext("2d", { alpha: false });
    const tile = grain();
    const start = performance.now();
    const [track] = canvas.captureStream().getVideoTracks();
    this.frame = () => paint(draw, null, (performance.now() - start) / 1000, tile);
    this.worker.postMessage({ frames: true });
    return track;
  }

  // A tone whose volume rises and falls like speech.
  #tone() {
    const out = this.sound.createMediaStreamDestination();
    const tone = new OscillatorNode(this.sound, { type: "sawtooth", frequency: 160 });
    const swell = new OscillatorNode(this.sound, { frequency: 3 });
    const gain = new GainNode(this.sound, { gain: 0.2 });
    const depth = new GainNode(this.sound, { gain: 0.2 });
    swell.connect(depth).connect(gain.gain);
    tone.connect(gain).connect(out);
    tone.start();
    swell.start();
    const [track] = out.stream.getAudioTracks();
    return {
      track,
      stop: () => {
        tone.stop();
        swell.stop();
        track.stop();
      },
    };
  }
}

// A device that may be used without asking, else null.
async function device(name, wanted) {
  try {
    const { state } = await navigator.permissions.query({ name });
    if (state !== "granted") return null;
    const opening = navigator.mediaDevices.getUserMedia(wanted);
    const late = new Promise((resolve) => setTimeout(resolve, PATIENCE, null));
    const stream = await Promise.race([opening, late]);
    if (stream) return stream.getTracks()[0];
    opening.then((s) => s.getTracks().forEach((track) => track.stop())).catch(() => {});
    return null;
  } catch {
    return null;
  }
}
