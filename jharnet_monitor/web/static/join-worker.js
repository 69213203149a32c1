// Timers and moving pictures for the join page. Unlike the page, a worker is not slowed down when
// the page is in the background.

import { grain, paint } from "./join-paint.js";

const TICK = 250;
const LOOK = 50;
const FRAMES_PER_SECOND = 30;

let run = 0; // the number of the running source; another number ends it

// How late this computer runs its timers: a tick tells the longest delay since the last one, in
// seconds.
let looked = performance.now();
let longest = 0;

function look() {
  const now = performance.now();
  longest = Math.max(longest, now - looked - LOOK);
  looked = now;
}

setInterval(look, LOOK);

setInterval(() => {
  look();
  postMessage({ lag: longest / 1000, at: performance.now() });
  longest = 0;
}, TICK);

// The series that sample how late the page handles what comes, by number, and their timers.
const timers = new Map();

function stamp(number, last) {
  postMessage({ stamp: number, at: performance.now(), last });
}

// At random times, so that what the page does at a fixed interval is not always met, or missed.
function stampAgain(number) {
  stamp(number, false);
  timers.set(number, setTimeout(stampAgain, LOOK * (0.5 + Math.random()), number));
}

onmessage = ({ data }) => {
  if (data.stamps) {
    stampAgain(data.stamps);
    return;
  }
  if (data.last) {
    clearTimeout(timers.get(data.last));
    timers.delete(data.last);
    stamp(data.last, true);
    return;
  }
  run += 1;
  if (data.writable) produce(run, data);
  else if (data.frames) time(run);
};

// Tells the page when to draw, where it has to do that itself.
async function time(mine) {
  let due = performance.now();
  while (run === mine) {
    postMessage("frame");
    due = Math.max(due + 1000 / FRAMES_PER_SECOND, performance.now() - 100);
    await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
  }
}

// Produces frames of the wanted size at the wanted rate, whatever the camera delivers. The noise
// keeps the encoder busy: a still picture needs too little to test the line.
async function produce(mine, { writable, camera, width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const draw = canvas.getContext("2d", { alpha: false });
  const writer = writable.getWriter();
  const tile = grain();
  const newest = camera ? follow(camera, () => run === mine) : { frame: null };
  const start = performance.now();
  let due = start;
  while (run === mine) {
    paint(draw, newest.frame, (performance.now() - start) / 1000, tile);
    const frame = new VideoFrame(canvas, { timestamp: Math.round(performance.now() * 1000) });
    if (writer.desiredSize > 0) writer.write(frame).catch(() => frame.close());
    else frame.close();
    due = Math.max(due + 1000 / FRAMES_PER_SECOND, performance.now() - 100);
    await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
  }
  newest.frame?.close();
  writer.close().catch(() => {});
}

function follow(readable, wanted) {
  const newest = { frame: null };
  const reader = readable.getReader();
  (async () => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !wanted()) {
        value?.close();
        reader.cancel().catch(() => {});
        return;
      }
      newest.frame?.close();
      newest.frame = value;
    }
  })();
  return newest;
}
