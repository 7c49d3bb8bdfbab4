// Level 1 (R2T2, Theorem 1) against softmax regression, with the derivatives taken by hand.

/**
 * Return x' = clamp(x − ε e(B_x v)) for one example: the small move of x after which the training step on it raises the
 * validation loss the most, to first order.
 *
 * With a = W x + b, p = softmax(a) and r = p − onehot(y), the loss has ∂L/∂W = r xᵀ and ∂L/∂b = r. Let v = (V, u) be the
 * validation gradient and s = V x + u. Then ⟨∂L/∂θ, v⟩ = rᵀ s, and B_x v = ∂(rᵀ s)/∂x = Vᵀ r + Wᵀ (p ∘ (s − pᵀ s)).
 *
 * @param {Float32Array} x pixels in [0, 1]
 * @param {number} label
 * @param {{weight: Float32Array, bias: Float32Array}} theta W, row by row, and b
 * @param {{weight: Float32Array, bias: Float32Array}} v the same of the validation gradient: V and u
 * @param {{epsilon: number, norm: string}} budget the ball: "l2" or "linf"
 */
export function levelOne(x, label, theta, v, { epsilon, norm }) {
  const p = softmax(affine(theta, x));
  const s = affine(v, x);
  const expected = p.reduce((sum, share, k) => sum + share * s[k], 0);
  const mixed = Float64Array.from(x, (_, i) => {
    let sum = 0;
    for (let k = 0; k < p.length; k++) {
      const at = k * x.length + i;
      sum += v.weight[at] * (p[k] - (k === label)) + theta.weight[at] * p[k] * (s[k] - expected);
    }
    return sum;
  });
  const e = direction(mixed, norm);
  return x.map((pixel, i) => Math.min(1, Math.max(0, pixel - epsilon * e[i])));
}

function affine({ weight, bias }, x) {
  return Array.from(bias, (b, k) => x.reduce((sum, pixel, i) => sum + weight[k * x.length + i] * pixel, b));
}

function softmax(logits) {
  const highest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - highest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

// e(u): the point of the unit ball furthest along u; a zero gradient has no direction.
function direction(u, norm) {
  if (norm === "linf") return u.map(Math.sign);
  const length = Math.hypot(...u);
  return length === 0 ? u : u.map((value) => value / length);
}
