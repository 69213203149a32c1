// What the office sends in a call: its camera and microphone, else a pattern and a tone.

const PATIENCE = 5000; // for a camera that another program holds

export class Media {
  constructor(worker) {
    this.worker = worker;
    this.sound = null;
  }

  // On the click: ask once for the devices and release them at once, so that no camera light is on
  // between tests. The tone needs the click, too.
  async ask() {
    this.sound ??= new AudioContext();
    await Promise.all([this.sound.resume(), this.#ask({ video: true, audio: true })]);
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
      device("camera", { video: { width, height, frameRate: 30 } }),
      device("microphone", { audio: true }),
    ]);
    const generator = new MediaStreamTrackGenerator({ kind: "video" });
    const parts = { writable: generator.writable, width, height };
    if (camera) parts.camera = new MediaStreamTrackProcessor({ track: camera }).readable;
    this.worker.postMessage(parts, [parts.writable, ...(camera ? [parts.camera] : [])]);
    const tone = microphone ? null : this.#tone();
    return {
      video: generator,
      audio: microphone ?? tone.track,
      camera: Boolean(camera),
      microphone: Boolean(microphone),
      stop: () => {
        this.worker.postMessage({});
        for (const track of [generator, camera, microphone]) track?.stop();
        tone?.stop();
      },
    };
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
