// Timers and moving pictures for the join page. Unlike the page, a worker is not slowed down when
// the page is in the background.
"use strict";

const TICK = 250;
const FRAMES_PER_SECOND = 30;
const GRAIN = 256;

let run = 0; // the number of the running source; another number ends it

setInterval(() => postMessage("tick"), TICK);

onmessage = ({ data }) => {
  run += 1;
  if (data.writable) produce(run, data);
};

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

function paint(draw, picture, seconds, tile) {
  const { width, height } = draw.canvas;
  if (picture) {
    draw.drawImage(picture, 0, 0, width, height);
  } else {
    draw.fillStyle = "#1d4f7c";
    draw.fillRect(0, 0, width, height);
    for (let bar = 0; bar < 7; bar += 1) {
      draw.fillStyle = `hsl(${bar * 51 + seconds * 20} 55% 55%)`;
      const x = ((bar / 7 + seconds / 9) % 1) * (width + 120) - 120;
      draw.fillRect(x, height * (0.15 + 0.1 * (bar % 3)), 120, height * 0.45);
    }
    draw.fillStyle = "#ffffff";
    draw.beginPath();
    draw.arc(width * (0.5 + 0.4 * Math.sin(seconds)), height * 0.82, height * 0.08, 0, 2 * Math.PI);
    draw.fill();
  }
  draw.globalAlpha = 0.05;
  const left = -Math.random() * GRAIN;
  const top = -Math.random() * GRAIN;
  for (let x = left; x < width; x += GRAIN) {
    for (let y = top; y < height; y += GRAIN) draw.drawImage(tile, x, y);
  }
  draw.globalAlpha = 1;
}

function grain() {
  const tile = new OffscreenCanvas(GRAIN, GRAIN);
  const draw = tile.getContext("2d");
  const image = draw.createImageData(GRAIN, GRAIN);
  for (let at = 0; at < image.data.length; at += 4) {
    image.data.fill(Math.random() * 256, at, at + 3);
    image.data[at + 3] = 255;
  }
  draw.putImageData(image, 0, 0);
  return tile;
}
