// The Transformer in the page: the same functions as attention/dot_product.py and model/*.py, for
// one sentence, one position at a time, with cached keys and values.

// Returns softmax(q · k / √d_k) over the keys (attention_weights in attention/dot_product.py).
function attentionWeights(query, keys, is_scaled) {
  const divisor = is_scaled ? Math.sqrt(query.length) : 1;
  return softmax(Float64Array.from(keys, (key) => dot(query, key) / divisor));
}

// Returns the values, averaged by their weights.
function weightedMean(weights, values) {
  const mean = new Float64Array(values[0].length);
  values.forEach((value, place) => {
    for (let i = 0; i < mean.length; i++) mean[i] += weights[place] * value[i];
  });
  return mean;
}

class Transformer {
  // `settings` are those of config/model.py; `parameters` is a Map: name in the run -> a matrix,
  // or a vector's numbers. All inputs of a kernel are its rows, all outputs its columns.
  constructor(settings, parameters) {
    this.settings = settings;
    this.parameters = parameters;
    const shared = settings.embedding_sharing === "all" && "shared_embedding.embedding";
    this.source_embedding = parameters.get(shared || "source_embedding.embedding");
    this.target_embedding = parameters.get(shared || "target_embedding.embedding");
  }

  // Returns the encoder's output and, of each layer, what attended to what:
  // { outputs, layers: [{ queries, keys, values, weights }] }, each [position], then by head.
  encode(tokens, switches) {
    let inputs = tokens.map((token, position) =>
      this.embed(this.source_embedding, token, "source_positions", position));
    const layers = [];
    for (let layer = 0; layer < this.settings.num_layers; layer++) {
      const name = `encoder.layer_${layer}`, attention = `${name}.self_attention`;
      const gates = gatesOf(switches, "encoder", layer, this.settings.num_heads);
      const seen = inputs.map((x) => this.normBefore(x, `${attention}_norm`));
      const memory = emptyMemory();
      for (const x of seen) this.remember(memory, attention, x);
      const found = seen.map((x) => this.attend(attention, x, memory, gates, switches.is_scaled));
      inputs = inputs.map((x, place) => {
        const sum = this.normAfter(addTo(x, found[place].output), `${attention}_norm`);
        return this.feedForward(name, sum);
      });
      layers.push({ ...memory, ...columnsOf(found) });
    }
    return { outputs: inputs.map((x) => this.finish(x, "encoder")), layers };
  }

  // Returns the decoder's state before its first position: each layer's keys and values, those of
  // the encoder's output computed once.
  start(encoded) {
    const layers = Array.from({ length: this.settings.num_layers }, (_, layer) => {
      const cross = emptyMemory();
      for (const x of encoded.outputs) {
        this.remember(cross, `decoder.layer_${layer}.cross_attention`, x);
      }
      return { decoder: emptyMemory(), cross };
    });
    return { position: 0, layers };
  }

  // Takes the token before a position (PAD at the first); returns the position's
  // { logits, layers: [{ decoder, cross }] }, each with `query` and `weights` by head. It adds the
  // position's own keys and values to `state`.
  step(state, token, switches) {
    let x = this.embed(this.target_embedding, token, "target_positions", state.position);
    state.position++;
    const layers = state.layers.map((memories, layer) => {
      const name = `decoder.layer_${layer}`, found = {};
      for (const [kind, part] of [["decoder", "self_attention"], ["cross", "cross_attention"]]) {
        const attention = `${name}.${part}`, norm = `${attention}_norm`;
        const gates = gatesOf(switches, kind, layer, this.settings.num_heads);
        const seen = this.normBefore(x, norm);
        if (kind === "decoder") this.remember(memories.decoder, attention, seen);
        found[kind] = this.attend(attention, seen, memories[kind], gates, switches.is_scaled);
        x = this.normAfter(addTo(x, found[kind].output), norm);
      }
      x = this.feedForward(name, x);
      return found;
    });
    return { logits: this.logits(this.finish(x, "decoder")), layers };
  }

  // Adds a position's keys and values, [head] -> vector, to a memory.
  remember(memory, attention, x) {
    memory.keys.push(this.heads(`${attention}.key`, x));
    memory.values.push(this.heads(`${attention}.value`, x));
  }

  // Multi-head attention from one position: Concat(head_1 .. head_h) W^O, each head times its gate.
  attend(attention, x, memory, gates, is_scaled) {
    const query = this.heads(`${attention}.query`, x);
    const weights = [], joined = [];
    query.forEach((vector, head) => {
      const keys = memory.keys.map((by_head) => by_head[head]);
      const values = memory.values.map((by_head) => by_head[head]);
      weights.push(attentionWeights(vector, keys, is_scaled));
      for (const number of weightedMean(weights[head], values)) joined.push(number * gates[head]);
    });
    return { output: this.dense(`${attention}.out`, joined), query, weights };
  }

  // Returns a projection cut into heads: [head] -> vector.
  heads(name, x) {
    const all = this.dense(name, x), width = all.length / this.settings.num_heads;
    return Array.from({ length: this.settings.num_heads }, (_, head) =>
      all.subarray(head * width, (head + 1) * width));
  }

  // max(0, x W1 + b1) W2 + b2, with its norm and its sum.
  feedForward(layer, x) {
    const name = `${layer}.feed_forward`, norm = `${name}_norm`;
    const activation = ACTIVATIONS[this.settings.activation];
    const hidden = this.dense(`${name}.inner`, this.normBefore(x, norm)).map(activation);
    return this.normAfter(addTo(x, this.dense(`${name}.outer`, hidden)), norm);
  }

  dense(name, x) {
    const bias = this.parameters.get(`${name}.bias`);
    return project(x, this.parameters.get(`${name}.kernel`), bias);
  }

  // Post-norm models normalize after each sum, pre-norm ones before each sub-layer and at the end.
  normBefore(x, name) { return this.settings.norm === "pre" ? this.norm(x, name) : x; }
  normAfter(x, name) { return this.settings.norm === "post" ? this.norm(x, name) : x; }
  finish(x, stack) { return this.settings.norm === "pre" ? this.norm(x, `${stack}.final_norm`) : x; }

  norm(x, name) {
    const scale = this.parameters.get(`${name}.scale`), bias = this.parameters.get(`${name}.bias`);
    return layerNorm(x, scale, bias, this.settings.layer_norm_epsilon);
  }

  // The token's vector times √d_model (PAD's is zero), plus the position's.
  embed(embedding, token, positions, position) {
    const factor = token === PAD ? 0 : Math.sqrt(this.settings.d_model);
    const place = this.position(positions, position);
    return place.map((x, i) => x + factor * embedding.values[token * embedding.columns + i]);
  }

  position(name, position) {
    const { positions, d_model } = this.settings;
    if (positions === "none") return new Float64Array(d_model);
    if (positions !== "learned") return sinusoid(position, d_model, positions);
    const { values, rows, columns } = this.parameters.get(`${name}.embedding`);
    if (position >= rows) return new Float64Array(d_model);
    const row = values.subarray(position * columns, (position + 1) * columns);
    return Float64Array.from(row, (x) => x * Math.sqrt(d_model));
  }

  logits(x) {
    const has_own = this.settings.embedding_sharing === "none";
    const logits = has_own
      ? project(x, this.parameters.get("output_projection.kernel"))
      : rowProducts(this.target_embedding, x);
    const bias = this.parameters.get("output_bias");
    return bias ? addTo(logits, bias) : logits;
  }
}

function emptyMemory() { return { keys: [], values: [] }; }

// Returns the factor of each head's output.
function gatesOf({ closed }, attention, layer, heads) {
  const gates = new Float64Array(heads).fill(1);
  for (const [name, of_layer, head] of closed) {
    if (name === attention && of_layer === layer) gates[head] = 0;
  }
  return gates;
}

function columnsOf(found) {
  return { queries: found.map((one) => one.query), weights: found.map((one) => one.weights) };
}

// The paper's sinusoids, or those of its authors' code: all sines, then all cosines
// (model/positions.py).
function sinusoid(position, d_model, layout) {
  const half = d_model / 2, table = new Float64Array(d_model), is_paper = layout === "sinusoidal";
  for (let i = 0; i < half; i++) {
    const power = is_paper ? 2 * i / d_model : i / Math.max(half - 1, 1);
    const angle = position * 10000 ** -power;
    table[is_paper ? 2 * i : i] = Math.sin(angle);
    table[is_paper ? 2 * i + 1 : half + i] = Math.cos(angle);
  }
  return table;
}
