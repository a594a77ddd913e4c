/* Elements and pictures, for the parts of the site that move. */

/** An element with attributes and children. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Paint an image of 784 values in [0, 1] on a canvas of 28 x 28 pixels. */
export function paint(canvas, image) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(28, 28);
  image.forEach((value, i) => {
    const grey = Math.round(255 * Math.min(Math.max(value, 0), 1));
    pixels.data.set([grey, grey, grey, 255], 4 * i);
  });
  context.putImageData(pixels, 0, 0);
}

/** Scroll again to the place that the address names, if the page has grown on the way there. */
export function toTarget() {
  if (performance.now() < 5000) document.querySelector(":target")?.scrollIntoView();
}
