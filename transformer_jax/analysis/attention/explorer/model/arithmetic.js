"use strict";
// Vectors and matrices, as the Transformer needs them. A vector is a Float64Array; a matrix is
// { values, rows, columns }, row by row, 32 bits a number.

function dot(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += one[i] * other[i];
  return sum;
}

// Returns vector · matrix, plus a bias where there is one.
function project(vector, { values, rows, columns }, bias = null) {
  const result = bias ? Float64Array.from(bias) : new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    const factor = vector[row], begin = row * columns;
    if (factor === 0) continue; // as many of a ReLU's outputs are
    for (let column = 0; column < columns; column++) {
      result[column] += factor * values[begin + column];
    }
  }
  return result;
}

// Returns matrix · vector: the dot product of each row with the vector.
function rowProducts({ values, rows, columns }, vector) {
  const result = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    result[row] = dot(vector, values.subarray(row * columns, (row + 1) * columns));
  }
  return result;
}

function addTo(vector, other) {
  return vector.map((x, i) => x + other[i]);
}

// Returns log(sum of e^x), without overflow.
function logSum(scores) {
  let top = -Infinity, sum = 0;
  for (const x of scores) top = Math.max(top, x);
  for (const x of scores) sum += Math.exp(x - top);
  return top + Math.log(sum);
}

function softmax(scores) {
  const log_sum = logSum(scores);
  return scores.map((x) => Math.exp(x - log_sum));
}

// Normalizes to mean 0 and variance 1, then scales and shifts (model/sublayer.py).
function layerNorm(vector, scale, bias, epsilon) {
  const mean = vector.reduce((sum, x) => sum + x, 0) / vector.length;
  const variance = vector.reduce((sum, x) => sum + (x - mean) ** 2, 0) / vector.length;
  const factor = 1 / Math.sqrt(variance + epsilon);
  return vector.map((x, i) => (x - mean) * factor * scale[i] + bias[i]);
}

const ACTIVATIONS = {
  relu: (x) => Math.max(0, x),
  swish: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => x * (1 + errorFunction(x / Math.SQRT2)) / 2,
};

// Returns erf(x), to about 1e-15: its Taylor series near 0, a continued fraction of erfc beyond.
function errorFunction(x) {
  const size = Math.abs(x);
  if (size < 2.5) {
    let term = size, sum = size;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= -size * size / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * sum * 2 / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (size + fraction);
  return Math.sign(x) * (1 - Math.exp(-size * size) / Math.sqrt(Math.PI) / (size + fraction));
}
