/* Draw a digit, damage it, watch it being restored; see model.js for the mathematics. */

import { NOISES, corrupt, difference, encode, filter, model, read, restore } from "./model.js";
import { asMnist } from "./digit.js";
import { paint } from "../elements.js";

const LEVELS = [0, 10, 30, 50];
const SIZE = 280, PEN = 22, CELL = SIZE / 28, UNITS = 12;
const here = new URL(".", import.meta.url);
const at = (id) => document.getElementById(id);

const state = {
  clean: new Float32Array(784),
  seed: 1,
  walks: [], // of each model, the image it sees now
  steps: 0,
  cursor: [140, 140],
  pen: false,
};

/** A moment in which the browser answers and draws. */
const pause = (milliseconds = 0) => new Promise((done) => setTimeout(done, milliseconds));

function show(models, usual) {
  const noise = at("noise").value, level = at("level").value / 100;
  at("level-in-words").textContent = noise === "Gaussian" ? `σ = ${level}` : `${at("level").value} %`;
  if (state.steps === 0) {
    state.damaged = corrupt(state.clean, noise, level, state.seed);
    paint(at("damaged"), state.damaged);
    state.walks = models.map(() => state.damaged);
  }
  paint(at("clean"), state.clean);
  const restored = models.map((dA, i) => restore(dA, state.walks[i]));
  const errors = restored.map((z) => difference(state.clean, z));
  const best = errors.indexOf(Math.min(...errors));
  restored.forEach((z, i) => {
    paint(at(`restored-${LEVELS[i]}`), z);
    at(`error-${LEVELS[i]}`).textContent = errors[i].toFixed(3);
    at(`restored-${LEVELS[i]}`).closest("figure").classList.toggle("best", i === best);
  });
  state.restored = restored;
  const damage = difference(state.clean, state.damaged);
  at("summary").textContent =
    `${noise}, ${at("level-in-words").textContent}: difference to the clean digit ${damage.toFixed(3)}. ` +
    `After ${state.steps + 1} ${state.steps ? "restorations" : "restoration"}: ` +
    LEVELS.map((name, i) => `${errors[i].toFixed(3)} by the dA of ${name} %`).join(", ") +
    `. Nearest: ${LEVELS[best]} %.`;
  showUnits(models, usual);
}

function showUnits(models, usual) {
  const i = LEVELS.indexOf(Number(document.querySelector("[name=which]:checked").value));
  const y = encode(models[i], state.walks[i]);
  const above = Array.from(y, (value, j) => [value - usual[i][j], j]).sort((p, q) => q[0] - p[0]);
  at("units").replaceChildren(
    ...above.slice(0, UNITS).map(([, j]) => {
      const figure = document.createElement("figure"), canvas = document.createElement("canvas");
      canvas.width = canvas.height = 28;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `filter of unit ${j + 1}, activation ${y[j].toFixed(2)}`);
      paint(canvas, filter(models[i], j));
      const caption = document.createElement("figcaption");
      caption.textContent = `${j + 1}: ${y[j].toFixed(2)}`;
      figure.append(canvas, caption);
      return figure;
    }),
  );
}

/** Drawing with a pointer, and with the keyboard: arrows move, space lifts or lowers the pen. */
function drawing(changed) {
  const canvas = at("drawing"), context = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  let last = null;

  const line = (from, to) => {
    context.strokeStyle = context.fillStyle = "white";
    context.beginPath();
    context.arc(...to, PEN / 2, 0, 2 * Math.PI); // a line of no length would not be drawn
    context.fill();
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    taken();
  };
  const taken = () => {
    const { data } = context.getImageData(0, 0, SIZE, SIZE);
    const ink = Float32Array.from({ length: SIZE * SIZE }, (_, i) => data[4 * i] / 255);
    changed(asMnist(ink, SIZE));
  };
  const clear = () => {
    context.fillStyle = "black";
    context.fillRect(0, 0, SIZE, SIZE);
    taken();
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top].map((v) => (v * SIZE) / box.width);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    line(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = place(event);
    line(last, next);
    last = next;
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));

  const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  const mark = () => {
    const [x, y] = state.cursor;
    at("cursor").style.translate = `${(100 * x) / SIZE}cqw ${(100 * y) / SIZE}cqw`;
    at("cursor").classList.toggle("down", state.pen);
  };
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (move) {
      const next = state.cursor.map((v, k) => Math.min(Math.max(v + CELL * move[k], 0), SIZE));
      if (state.pen) line(state.cursor, next);
      state.cursor = next;
    } else if (event.key === " " || event.key === "Enter") {
      state.pen = !state.pen;
      if (state.pen) line(state.cursor, state.cursor);
    } else if (event.key === "Escape") {
      state.pen = false;
      clear();
    } else return;
    event.preventDefault();
    mark();
  });
  at("clear").addEventListener("click", clear);
  mark();
  return clear;
}

/** A digit of MNIST, enlarged, as if it had been drawn; it is used as it is, not scaled again. */
function copyToDrawing(image) {
  const context = at("drawing").getContext("2d");
  image.forEach((value, i) => {
    const grey = Math.round(255 * value);
    context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    context.fillRect((i % 28) * CELL, Math.floor(i / 28) * CELL, CELL, CELL);
  });
}

async function begin() {
  if (document.readyState !== "complete") {
    await new Promise((done) => addEventListener("load", done, { once: true }));
  }
  await pause(100); // the text is drawn before two megabytes of models are asked for
  const files = LEVELS.map((level) => read(new URL(`models/da_${level}.safetensors`, here)));
  const [examples, ...read_] = await Promise.all([read(new URL("digits.safetensors", here)), ...files]);
  const models = [];
  for (const file of read_) {
    await pause();
    models.push(model(file));
  }
  const { images: { data, shape: [n] }, labels } = examples.tensors;
  const digits = Array.from({ length: n }, (_, i) =>
    Float32Array.from(data.subarray(784 * i, 784 * (i + 1)), (byte) => byte / 255),
  );
  const usual = [];
  for (const dA of models) {
    const sum = new Float32Array(dA.hidden);
    for (const [i, digit] of digits.entries()) {
      if (i % 5 === 0) await pause();
      encode(dA, digit).forEach((value, j) => (sum[j] += value / n));
    }
    usual.push(sum);
  }

  const changed = (clean) => {
    state.clean = clean;
    state.steps = 0;
    show(models, usual);
  };
  at("noise").append(...Object.keys(NOISES).map((name) => new Option(name)));
  const clear = drawing(changed);
  digits.forEach((digit, i) => {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    canvas.width = canvas.height = 28;
    paint(canvas, digit);
    button.type = "button";
    button.setAttribute("aria-label", `digit ${labels.data[i]} of MNIST, number ${i + 1}`);
    button.append(canvas);
    button.addEventListener("click", () => {
      clear();
      copyToDrawing(digit);
      changed(digit);
    });
    at("digits").append(button);
  });
  for (const id of ["noise", "level"]) {
    at(id).addEventListener("input", () => {
      state.steps = 0;
      show(models, usual);
    });
  }
  at("other").addEventListener("click", () => {
    state.seed += 1;
    state.steps = 0;
    show(models, usual);
  });
  at("again").addEventListener("click", () => {
    state.walks = state.restored;
    state.steps += 1;
    show(models, usual);
  });
  at("which").addEventListener("input", () => showUnits(models, usual));
  document.querySelector("#digits button").click();
  at("demo").dataset.ready = "true";
}

begin().catch((error) => {
  at("summary").textContent = `The models could not be loaded (${error.message}).`;
});
