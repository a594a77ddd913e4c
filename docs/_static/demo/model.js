/* A denoising autoencoder with tied weights, in plain JavaScript:

     y = s(x W + b),   z = s(y W' + b')

   Images are Float32Arrays of pixels in [0, 1]. */

const BYTES = { U8: Uint8Array, I8: Int8Array, F32: Float32Array };

/** The tensors and the metadata of a safetensors file (huggingface.co/docs/safetensors). */
export function parse(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [first, last] }] of Object.entries(entries)) {
    const bytes = buffer.slice(8 + length + first, 8 + length + last);
    tensors[name] = { shape, data: new BYTES[dtype](bytes) };
  }
  return { tensors, metadata };
}

export async function read(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return parse(await response.arrayBuffer());
}

/** The model of a file of `dae_jax.export --to web`, or of a dA's own parameters. */
export function model({ tensors, metadata }) {
  const [visible, hidden] = tensors.W.shape;
  const W = tensors.W_scale ? unpacked(tensors, hidden) : tensors.W.data;
  const [b, bPrime] = [tensors.b.data, tensors.b_prime.data];
  return { visible, hidden, W, b, bPrime, card: metadata.dae_jax && JSON.parse(metadata.dae_jax) };
}

/** Weights of 10 bits: s sign(q) (|q| / 511)^2; see `dae_jax.runs.exporting.to_web`. */
function unpacked({ W, W_low: low, W_scale: scale }, hidden) {
  const values = Float64Array.from({ length: 1024 }, (_, at) => Math.sign(at - 512) * ((at - 512) / 511) ** 2);
  const weights = new Float32Array(W.data.length);
  for (let at = 0, column = 0; at < weights.length; at++) {
    const q = 4 * W.data[at] + ((low.data[at >> 2] >> (2 * (at & 3))) & 3);
    weights[at] = scale.data[column] * values[q + 512];
    if (++column === hidden) column = 0;
  }
  return weights;
}

const sigmoid = (a) => 1 / (1 + Math.exp(-a));

export function encode({ visible, hidden, W, b }, x) {
  const a = Float64Array.from(b);
  for (let i = 0; i < visible; i++) {
    if (x[i] === 0) continue;
    for (let j = 0, at = i * hidden; j < hidden; j++, at++) a[j] += x[i] * W[at];
  }
  return Float32Array.from(a, sigmoid);
}

export function decode({ visible, hidden, W, bPrime }, y) {
  const z = new Float32Array(visible);
  for (let i = 0; i < visible; i++) {
    let a = bPrime[i];
    for (let j = 0, at = i * hidden; j < hidden; j++, at++) a += y[j] * W[at];
    z[i] = sigmoid(a);
  }
  return z;
}

export const restore = (dA, x) => decode(dA, encode(dA, x));

/** The filter of a hidden unit: its weights, from black, the smallest, to white, the largest. */
export function filter({ visible, hidden, W }, unit) {
  const weights = Float32Array.from({ length: visible }, (_, i) => W[i * hidden + unit]);
  const low = Math.min(...weights), high = Math.max(...weights);
  return weights.map((w) => (w - low) / (high - low || 1));
}

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** The noises of `dae_jax.corruption` that the page offers: a pixel, the level, random numbers. */
export const NOISES = {
  masking: (x, level, random) => (random() < level ? 0 : x),
  "salt and pepper": (x, level, random) => {
    const u = random();
    return u < level / 2 ? 0 : u < level ? 1 : x;
  },
  Gaussian: (x, level, random) => x + level * normal(random),
};

export function corrupt(x, noise, level, seed) {
  const random = uniform(seed);
  return x.map((pixel) => NOISES[noise](pixel, level, random));
}

/** The root mean squared difference of the pixels of two images. */
export function difference(x, z) {
  return Math.sqrt(x.reduce((sum, pixel, i) => sum + (pixel - z[i]) ** 2, 0) / x.length);
}
