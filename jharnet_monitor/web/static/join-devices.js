// What a page can find out about camera, microphone and loudspeaker. Pictures and sound are judged
// in this page and neither stored nor sent. Times are in ms.

const PERMISSION_TIMEOUT = 60000; // for a person to answer the browser's question
const SETTLE = 1000; // a camera adjusts to the light first
const FRAME_EVERY = 250;
const FRAMES = 12;
const LONGEST_LOOK = 20000; // includes times in which the page is hidden, which stop the picture
const DARK = 16; // of 255: mean brightness
const EVEN = 8; // standard deviation
const MOVED = 0.0005; // share of the pixels: a camera's own noise changes far more
const LISTEN = 3000;
const LONGEST_LISTEN = 8000; // for a person who is slow to speak
const LISTEN_EVERY = 100;
const SILENT = 0.003; // peak, of 1: below it not even the room is heard
const FULL = 0.985; // a sample at the end of the range
const RUN = 3; // so many full samples in a row are clipped
const DISTORTED = 0.001; // share of the samples that are clipped
const TONE = 880; // Hz
const BEFORE_TONE = 600;
const TONE_LENGTH = 1600;
const ECHO = 12; // dB above what was there before
const FAINTEST = -85; // dB
const WINDOW = 8192; // samples

const OPENING = {
  NotAllowedError: "refused",
  SecurityError: "refused",
  NotFoundError: "none",
  OverconstrainedError: "none",
};

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The stream of one device, or the finding that says why there is none.
export async function openDevice(wanted) {
  if (!navigator.mediaDevices) return { finding: window.isSecureContext ? "none" : "insecure" };
  let late = false;
  try {
    const opening = navigator.mediaDevices.getUserMedia(wanted);
    opening.then((stream) => late && stop(stream)).catch(() => {});
    const stream = await Promise.race([opening, pause(PERMISSION_TIMEOUT)]);
    late = !stream;
    return stream ? { stream } : { finding: "refused" };
  } catch (error) {
    return { finding: OPENING[error.name] ?? "busy" };
  }
}

export function stop(stream) {
  stream?.getTracks().forEach((track) => track.stop());
}

// Judges a playing video over some seconds: `good`, `black` or `frozen`.
export async function judgePicture(video) {
  const draw = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const end = performance.now() + LONGEST_LOOK;
  let frames = 0;
  let dark = 0;
  let changes = 0;
  let before = null;
  await pause(SETTLE);
  while (frames < FRAMES && performance.now() < end) {
    await pause(FRAME_EVERY);
    const now = document.hidden ? null : brightness(draw, video);
    if (now && before) {
      frames += 1;
      dark += isDark(now);
      changes += differs(now, before);
    }
    before = now;
  }
  if (frames === 0) return "frozen"; // no picture came
  if (dark === frames) return "black";
  return changes ? "good" : "frozen";
}

// Each pixel's green, which has most of the brightness; null while there is no picture.
function brightness(draw, video) {
  const { videoWidth: width, videoHeight: height } = video;
  if (!width) return null;
  Object.assign(draw.canvas, { width, height });
  draw.drawImage(video, 0, 0);
  const { data } = draw.getImageData(0, 0, width, height);
  return Uint8Array.from({ length: width * height }, (_, pixel) => data[4 * pixel + 1]);
}

function isDark(pixels) {
  let sum = 0;
  let squares = 0;
  for (const value of pixels) {
    sum += value;
    squares += value * value;
  }
  const mean = sum / pixels.length;
  return mean < DARK && Math.sqrt(squares / pixels.length - mean * mean) < EVEN;
}

function differs(now, before) {
  if (now.length !== before.length) return true;
  let moved = 0;
  for (let at = 0; at < now.length; at += 1) moved += now[at] !== before[at];
  return moved > MOVED * now.length;
}

// Measures what a microphone hears. `sound` is a running AudioContext.
export class MicrophoneMeter {
  #samples = new Float32Array(WINDOW);
  #spectrum = new Float32Array(WINDOW / 2);

  constructor(sound, stream) {
    this.analyser = new AnalyserNode(sound, { fftSize: WINDOW, smoothingTimeConstant: 0 });
    this.source = sound.createMediaStreamSource(stream);
    this.source.connect(this.analyser);
    this.bin = Math.round((TONE / sound.sampleRate) * WINDOW);
  }

  // `good`, `silent` or `clipping`, after some seconds. `show(peak)` is called with the level, 0 to 1.
  async judge(show) {
    const began = performance.now();
    let loudest = 0;
    let all = 0;
    let clippedSamples = 0;
    const lasts = () => performance.now() - began;
    while (lasts() < LISTEN || (loudest < SILENT && lasts() < LONGEST_LISTEN)) {
      await pause(LISTEN_EVERY);
      this.analyser.getFloatTimeDomainData(this.#samples);
      const { peak, clipped } = measured(this.#samples);
      show(peak);
      loudest = Math.max(loudest, peak);
      all += WINDOW;
      clippedSamples += clipped;
    }
    show(0);
    if (loudest < SILENT) return "silent";
    return clippedSamples > DISTORTED * all ? "clipping" : "good";
  }

  // The level at the tone's frequency, in dB: the median over that time.
  async tone(milliseconds) {
    const end = performance.now() + milliseconds;
    const levels = [];
    while (performance.now() < end) {
      await pause(LISTEN_EVERY);
      this.analyser.getFloatFrequencyData(this.#spectrum);
      levels.push(Math.max(...this.#spectrum.subarray(this.bin - 2, this.bin + 3)));
    }
    return levels.sort((a, b) => a - b)[levels.length >> 1];
  }

  close() {
    this.source.disconnect();
  }
}

function measured(samples) {
  let peak = 0;
  let clipped = 0;
  let run = 0;
  for (const sample of samples) {
    const size = Math.abs(sample);
    peak = Math.max(peak, size);
    run = size >= FULL ? run + 1 : 0;
    if (run === RUN) clipped += RUN;
    else if (run > RUN) clipped += 1;
  }
  return { peak, clipped };
}

// Plays the tone; returns whether a microphone heard it. `meter` is null without a microphone.
export async function playTone(sound, meter) {
  const before = meter ? await meter.tone(BEFORE_TONE) : 0;
  const tone = new OscillatorNode(sound, { frequency: TONE });
  const gain = new GainNode(sound, { gain: 0 });
  const now = sound.currentTime;
  tone.connect(gain).connect(sound.destination);
  gain.gain.setTargetAtTime(0.4, now, 0.02); // without a click
  gain.gain.setTargetAtTime(0, now + TONE_LENGTH / 1000 - 0.1, 0.02);
  tone.start();
  tone.stop(now + TONE_LENGTH / 1000);
  if (!meter) {
    await pause(TONE_LENGTH);
    return "not_tried";
  }
  const during = await meter.tone(TONE_LENGTH);
  return during > Math.max(before + ECHO, FAINTEST) ? "reached" : "not_reached";
}
