/* The latent map: move a point over the plane of the 2-d autoencoder, or over PCA's, and see the
   decoder's image and the test digits nearest to it. The other plane shows the same digit. */

import { read } from "../demo/model.js";
import { element, paint, toTarget } from "../elements.js";
import { deep, pca } from "./decoder.js";

const here = new URL(".", import.meta.url);
const root = document.getElementById("latent-map");
const SIDE = 720, COLUMNS = 40, NEAR = 4; // of the canvas; of digits.webp; digits beside the image
const ZOOMS = [1, 2, 4, 8], STEP = 1 / 50; // of the window's side, for an arrow key; five with Shift
const COLOURS = "#1f77b4 #e8720c #2ca02c #d62728 #9467bd #8c564b #d957ab #7f7f7f #a5a61a #12a5b5".split(" ");
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** A small picture with a line of text below it. */
function picture(label) {
  const canvas = element("canvas", { width: 28, height: 28, role: "img", "aria-label": label });
  const caption = element("figcaption", {}, label);
  return { canvas, caption, figure: element("figure", {}, canvas, caption) };
}

const inWords = ([c1, c2]) => `(${c1.toFixed(1)}, ${c2.toFixed(1)})`;

const words = (title) => (title === "PCA" ? title : `the ${title}`);

/** One plane: its codes, its window, and the elements that show it. */
function plane(title, name, decode, { tensors, labels, sprite }) {
  const codes = tensors[`${name}.codes`].data, [left, bottom, right, top] = tensors[`${name}.window`].data;
  const whole = right - left; // windows are squares
  const canvas = element("canvas", {
    width: SIDE, height: SIDE, tabindex: 0, role: "application",
    "aria-label": `The plane of ${words(title)}. Arrow keys move the point; with Shift, further.`,
  });
  const mark = element("span", { class: "mark", "aria-hidden": "true" });
  const image = picture("decoded"), near = Array.from({ length: NEAR }, () => picture(""));
  const board = element("div", { class: "board" }, canvas, mark);
  const row = element("div", { class: "row" }, ...[image, ...near].map(({ figure }) => figure));
  const self = {
    title, name, canvas, point: [0, 0], side: whole, middle: [(left + right) / 2, (bottom + top) / 2],
    figure: element("div", { class: "plane", id: `plane-${name}` }, element("strong", {}, title[0].toUpperCase() + title.slice(1)), board, row),
    codeOf: (n) => [codes[2 * n], codes[2 * n + 1]],
  };
  const toCanvas = ([c1, c2]) => [
    SIDE * ((c1 - self.middle[0]) / self.side + 0.5),
    SIDE * (0.5 - (c2 - self.middle[1]) / self.side),
  ];
  self.toCode = (x, y) => [self.middle[0] + self.side * (x - 0.5), self.middle[1] + self.side * (0.5 - y)];

  self.draw = () => {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, SIDE, SIDE);
    Object.assign(context, { font: "600 17px sans-serif", textAlign: "center", textBaseline: "middle" });
    labels.forEach((label, n) => {
      context.fillStyle = COLOURS[label];
      context.fillText(label, ...toCanvas(self.codeOf(n)));
    });
  };

  self.zoom = (times) => {
    self.side = whole / times;
    self.middle = times > 1 ? [...self.point] : [(left + right) / 2, (bottom + top) / 2];
    self.draw();
    self.place();
  };

  self.place = () => {
    const [x, y] = toCanvas(self.point).map((v) => Math.min(Math.max(v / SIDE, 0), 1));
    mark.style.left = `${100 * x}%`;
    mark.style.top = `${100 * y}%`;
  };

  /** Move the point; returns the number of the nearest test digit. */
  self.move = (point) => {
    self.point = point;
    const outside = toCanvas(point).some((v) => v < 0 || v > SIDE);
    if (outside && self.side < whole) {
      self.middle = [...point];
      self.draw();
    }
    self.place();
    paint(image.canvas, decode(point));
    image.canvas.setAttribute("aria-label", `the image decoded from ${inWords(point)}`);
    const far = Array.from(labels, (_, n) => (codes[2 * n] - point[0]) ** 2 + (codes[2 * n + 1] - point[1]) ** 2);
    const order = Array.from(far.keys()).sort((m, n) => far[m] - far[n]);
    near.forEach(({ canvas, caption }, k) => {
      const n = order[k];
      const [x, y] = [28 * (n % COLUMNS), 28 * Math.floor(n / COLUMNS)];
      canvas.getContext("2d").drawImage(sprite, x, y, 28, 28, 0, 0, 28, 28);
      canvas.setAttribute("aria-label", `test digit ${n + 1}, a ${labels[n]}`);
      caption.textContent = labels[n];
    });
    return order[0];
  };
  return self;
}

function start(tensors, sprite) {
  const shared = { tensors, labels: tensors.labels.data, sprite };
  const planes = [
    plane("deep autoencoder", "net", deep(tensors), shared),
    plane("PCA", "pca", pca(tensors), shared),
  ];
  const summary = element("p", { "aria-live": "polite" });
  const zoom = element("input", { type: "range", id: "latent-zoom", min: 0, max: ZOOMS.length - 1, step: 1, value: 0 });
  const times = element("output", { for: "latent-zoom" });
  const control = element("div", { class: "slider" }, element("label", { for: "latent-zoom" }, "Zoom"), zoom, times);
  root.replaceChildren(element("div", { class: "planes" }, ...planes.map(({ figure }) => figure)), control, summary);

  const enlarge = () => {
    times.textContent = `${ZOOMS[zoom.value]} ×`;
    zoom.setAttribute("aria-valuetext", `${ZOOMS[zoom.value]} times`);
    for (const each of planes) each.zoom(ZOOMS[zoom.value]);
  };
  const go = (here, point) => {
    const there = planes.find((each) => each !== here), n = here.move(point);
    there.move(there.codeOf(n));
    const same = `On the plane of ${words(there.title)}, the same digit is at ${inWords(there.point)}.`;
    summary.textContent =
      `On the plane of ${words(here.title)}, at ${inWords(point)}: the nearest test digit is a ${shared.labels[n]}. ${same}`;
    root.dataset.shown = `${here.name} ${n}`;
  };

  for (const each of planes) {
    const { canvas } = each;
    const follow = (event) => {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      go(each, each.toCode(...[x, y].map((v) => Math.min(Math.max(v, 0), 1))));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      follow(event);
    });
    canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && follow(event));
    canvas.addEventListener("keydown", (event) => {
      const arrow = ARROWS[event.key];
      if (!arrow || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault(); // the page does not scroll
      event.stopPropagation(); // and the site does not turn it
      const step = each.side * STEP * (event.shiftKey ? 5 : 1);
      go(each, each.point.map((c, k) => c + step * arrow[k]));
    });
  }
  zoom.addEventListener("input", enlarge);
  enlarge();
  go(planes[0], planes[0].codeOf(1)); // a 2
  toTarget();
}

async function load() {
  const sprite = new Image();
  sprite.src = new URL("digits.webp", here);
  const [{ tensors }] = await Promise.all([read(new URL("map.safetensors", here)), sprite.decode()]);
  start(tensors, sprite);
}

// The picture stays where the files cannot be loaded.
if (root) await load().catch(() => {});
