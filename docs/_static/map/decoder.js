/* The decoders of the latent map, from the tensors of map.safetensors: functions of a code,
   [c1, c2], that return the 784 pixels of an image. docs/latent_map.py wrote the file. */

const elu = (a) => (a > 0 ? a : Math.expm1(a));
const sigmoid = (a) => 1 / (1 + Math.exp(-a));

/** A layer whose weights are W, or scale * W with one scale per unit. */
function dense({ W, scale, b }, x, activation) {
  const n = b.length, a = new Float64Array(n);
  x.forEach((value, i) => {
    for (let j = 0, at = i * n; j < n; j++, at++) a[j] += value * W[at];
  });
  return Float32Array.from(a, (sum, j) => activation((scale ? scale[j] : 1) * sum + b[j]));
}

export function deep(tensors) {
  const layers = [0, 1, 2].map((k) => {
    const part = (name) => tensors[`decoder.${k}.${name}`]?.data;
    return { W: part("W"), scale: part("scale"), b: part("b") };
  });
  return (code) => layers.reduce((x, layer, k) => dense(layer, x, k < 2 ? elu : sigmoid), code);
}

export function pca(tensors) {
  const mean = tensors["pca.mean"].data, v = tensors["pca.components"].data;
  return ([c1, c2]) => mean.map((m, i) => m + c1 * v[i] + c2 * v[mean.length + i]);
}
