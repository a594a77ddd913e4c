/* Filters emerging: two sliders choose an epoch and a level; docs/filters_emerging.py made the files. */

import { element, toTarget } from "../elements.js";

const here = new URL(".", import.meta.url);
const SIDE = 289; // of a sheet, in pixels; those of one level lie below each other
const root = document.getElementById("emerging");

const percent = (share) => `${Math.round(100 * share)} %`;
const nats = (cost) => (cost === null ? "–" : cost.toFixed(2));

/** A labelled slider over values, and the function that says which of them is chosen. */
function slider(id, label, values, words, chosen) {
  const output = element("output", { for: id });
  const input = element("input", { type: "range", id, min: 0, max: values.length - 1, step: 1, value: chosen });
  const say = () => {
    output.textContent = words(values[input.value]);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", say);
  say();
  const row = element("div", { class: "slider" }, element("label", { for: id }, label), input, output);
  return { row, input, index: () => Number(input.value) };
}

function start({ epochs, levels, cost, local }) {
  const canvas = element("canvas", { width: SIDE, height: SIDE, role: "img" });
  const epoch = slider("emerging-epoch", "Epoch", epochs, String, epochs.length - 1);
  const level = slider("emerging-level", "Masked", levels, percent, levels.indexOf(0.3));
  const rows = levels.map((p) => {
    const row = element("tr", {}, element("th", { scope: "row" }, percent(p)), element("td"), element("td"));
    return row;
  });
  const heads = ["masked", "cost", "local"].map((name) => element("th", { scope: "col" }, name));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  const summary = element("p", { "aria-live": "polite" });
  const sheets = new Map(); // by level, loaded when it is asked for

  const sheet = (i) => {
    if (!sheets.has(i)) {
      const image = new Image();
      image.src = new URL(`sheets_${Math.round(100 * levels[i])}.webp`, here);
      sheets.set(i, image.decode().then(() => image));
    }
    return sheets.get(i);
  };

  async function show() {
    const t = epoch.index(), i = level.index();
    rows.forEach((row, k) => {
      row.classList.toggle("chosen", k === i);
      row.children[1].textContent = nats(cost[t][k]);
      row.children[2].textContent = percent(local[t][k]);
    });
    const when = t ? `Epoch ${epochs[t]}` : "Before training";
    const costs = cost[t][i] === null ? "" : `cost ${nats(cost[t][i])} nats, `;
    summary.textContent = `${when}, ${percent(levels[i])} masked: ${costs}${percent(local[t][i])} of the filters local.`;
    canvas.setAttribute("aria-label", `The first hundred filters. ${summary.textContent}`);
    try {
      const image = await sheet(i);
      if (t !== epoch.index() || i !== level.index()) return; // moved on meanwhile
      canvas.getContext("2d").drawImage(image, 0, SIDE * t, SIDE, SIDE, 0, 0, SIDE, SIDE);
      root.dataset.shown = `${epochs[t]} ${levels[i]}`;
    } catch {
      sheets.delete(i);
      summary.textContent += " The picture could not be loaded.";
    }
  }

  const panel = element("div", { class: "panel" }, epoch.row, level.row, table, summary);
  root.replaceChildren(element("div", { class: "strip" }, canvas, panel));
  toTarget();
  for (const { input } of [epoch, level]) input.addEventListener("input", show);
  return show();
}

/** Resolves when an element is about to be seen. */
function near(target) {
  return new Promise((resolve) => {
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      resolve();
    }, { rootMargin: "600px" });
    observer.observe(target);
  });
}

if (root) {
  await near(root);
  // The contact sheet stays where the numbers cannot be loaded.
  const answer = await fetch(new URL("numbers.json", here)).catch(() => null);
  if (answer?.ok) await start(await answer.json());
}
