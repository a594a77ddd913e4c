/* A drawing as MNIST would hold it: the digit is scaled to fit 20 x 20 pixels, and placed in 28 x 28
   so that its centre of mass is in the middle (LeCun, Bottou, Bengio & Haffner 1998). */

const SIDE = 28, BOX = 20;

/** The smallest rectangle that holds all ink; null if there is none. */
export function bounds(ink, size) {
  let [top, left, bottom, right] = [size, size, -1, -1];
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      if (ink[i * size + j] <= 0.05) continue;
      [top, left] = [Math.min(top, i), Math.min(left, j)];
      [bottom, right] = [Math.max(bottom, i), Math.max(right, j)];
    }
  }
  return bottom < 0 ? null : { top, left, height: bottom - top + 1, width: right - left + 1 };
}

/**
 * The image of a drawing.
 * @param ink Float32Array of size x size pixels in [0, 1].
 * @returns Float32Array of 784 pixels in [0, 1]; all 0 for an empty drawing.
 */
export function asMnist(ink, size) {
  const image = new Float32Array(SIDE * SIDE);
  const box = bounds(ink, size);
  if (!box) return image;
  const side = Math.max(box.height, box.width) / BOX; // pixels of the drawing in one of the image
  const [h, w] = [box.height, box.width].map((length) => Math.max(1, Math.round(length / side)));
  const small = new Float32Array(h * w);
  let [mass, y, x] = [0, 0, 0];
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      const value = mean(ink, size, box.top + i * side, box.left + j * side, side);
      small[i * w + j] = value;
      mass += value, y += value * (i + 0.5), x += value * (j + 0.5);
    }
  }
  const place = (centre, length) =>
    Math.min(Math.max(Math.round(SIDE / 2 - centre / (mass || 1)), 0), SIDE - length);
  const [top, left] = [place(y, h), place(x, w)];
  const most = Math.max(...small) || 1;
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) image[(top + i) * SIDE + left + j] = small[i * w + j] / most;
  }
  return image;
}

/** The mean of the pixels of a square with any corner and side; 0 outside of the drawing. */
function mean(ink, size, top, left, side) {
  let sum = 0;
  for (let i = Math.floor(top); i < top + side; i++) {
    const high = Math.min(i + 1, top + side) - Math.max(i, top);
    for (let j = Math.floor(left); j < left + side; j++) {
      if (i < 0 || j < 0 || i >= size || j >= size) continue;
      sum += ink[i * size + j] * high * (Math.min(j + 1, left + side) - Math.max(j, left));
    }
  }
  return sum / side ** 2;
}
