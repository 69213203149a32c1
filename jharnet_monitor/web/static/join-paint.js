// The picture that a page sends where it has no camera: moving bars, and noise that keeps the encoder
// busy. A still picture needs too little to test the line.

const GRAIN = 256;

export function paint(draw, picture, seconds, tile) {
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

export function grain() {
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
