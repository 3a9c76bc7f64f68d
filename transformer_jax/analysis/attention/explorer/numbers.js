// The numbers of the sentence: weights are shares of 65535, vectors are 32-bit floats.

const weightCache = new Map();
function forgetWeights() { weightCache.clear(); }

// Returns the arrays of a page object, an ArrayBuffer.
function unpack(object) { return inflated(object.packed); }

// Returns a head's weights, a row of keys for each query.
function weightsOf(attention, layer, head) {
  const name = `${attention} ${layer} ${head}`;
  if (!weightCache.has(name)) {
    const { weights, queries, keys } = data.attentions[attention];
    const size = queries.length * keys.length;
    const shares = new Uint16Array(buffer, weights + 2 * size * (layer * data.heads + head), size);
    weightCache.set(name, Float64Array.from(shares, (share) => share / 65535));
  }
  return weightCache.get(name);
}
function weight(head, query, key) {
  return weightsOf(chosen.attention, chosen.layer, head)[query * current().keys.length + key];
}
function meanOf(lists) {
  const mean = new Float64Array(lists.length ? lists[0].length : 0);
  for (const list of lists) list.forEach((x, i) => { mean[i] += x / lists.length; });
  return mean;
}

// Returns a vector of the chosen layer, or null where the page has none; `kind` is "query", "key"
// or "value".
function vector(kind, head, place) {
  const packed = current().vectors[chosen.layer];
  if (!packed) return null;
  const { values, count, width } = packed[kind];
  const begin = values + 4 * width * (head * count + place);
  return Float64Array.from(new Float32Array(buffer, begin, width));
}

// Returns how many keys a query may look at: in the decoder, those that stand before.
function visible(query) {
  return chosen.attention === "decoder" ? query + 1 : current().keys.length;
}

// Returns what attention computes for one query: q·k for each key, divided, and the weights.
function stepsOf(head, query, isScaled) {
  const q = vector("query", head, query);
  if (!q) return null;
  const products = [];
  for (let key = 0; key < visible(query); key++) products.push(dot(q, vector("key", head, key)));
  const scores = products.map((product) => isScaled ? product / Math.sqrt(q.length) : product);
  return { q, products, scores, weights: softmax(scores) };
}

// Returns the place on the other side with the largest weight, by the head of the steps.
function strongest(side, place) {
  const { queries } = current();
  const count = side === "query" ? visible(place) : queries.length;
  // In the decoder a key is seen only from its own place on.
  let best = side === "key" && chosen.attention === "decoder" ? place : 0;
  for (let i = best + 1; i < count; i++) {
    const [here, there] = side === "query"
      ? [weight(chosen.head, place, i), weight(chosen.head, place, best)]
      : [weight(chosen.head, i, place), weight(chosen.head, best, place)];
    if (here > there) best = i;
  }
  return best;
}

// Returns the head of a layer whose rows have the largest mean maximum (as the figures choose it).
function sharpestHead(attention, layer) {
  const sharpness = range(data.heads).map((head) => meanRowMaximum(attention, layer, head));
  return sharpness.indexOf(Math.max(...sharpness));
}
function meanRowMaximum(attention, layer, head) {
  const { queries, keys } = data.attentions[attention];
  const weights = weightsOf(attention, layer, head);
  let sum = 0;
  for (let q = 0; q < queries.length; q++)
    sum += Math.max(...weights.subarray(q * keys.length, (q + 1) * keys.length));
  return sum / queries.length;
}
