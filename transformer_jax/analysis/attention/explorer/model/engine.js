// The model that the page asks. An engine is any object with these members; `PageEngine` below
// computes in the page itself, another may ask a server. The panel knows only this:
//
// engine.facts: what does not change, an object of
//   layers, heads, d_k: numbers; max_source: tokens that a sentence may have, its end included
//   note: what the reader should know of this engine, { en, ja }, or null
//
// await engine.encode(text): the tokens of a sentence, its end included, an object of
//   text: the sentence
//   ids: numbers
//   pieces: what each is called, such as "▁forty"
//   texts: what of the sentence each covers, as the tokenizer normalized it; "" for the end
//   is_unknown: for each, whether the model has no piece for it
//
// await engine.decode(ids): the text of target tokens, up to the end sign
//
// engine.translate(source, switches, prefix = []): an asynchronous iterable of the tokens of the
//   greedy translation, in order, the end sign last (missing if the limit of length came first).
//   The first are those of `prefix`, ids that are forced. Of `source` the ids count, not the text:
//   some may have been made unknown, to see what is missed. Each token is an object of
//     id, piece, probability, log_probability (of this token, whether it was forced or not)
//     is_forced: whether it is of the prefix
//     rivals: the five likeliest tokens in place of it, the likeliest first, this one left out:
//       { id, piece, probability }
//     attention: { decoder, cross }, each [layer][head] -> the weights, an array over what the
//       token was predicted from: the start and the tokens before it, or the source
//   Who stops iterating stops the computation.
//
// await engine.attention(source, target, switches): all attention of a sentence and its output, for
//   `target`, the ids of the output: { shown, arrays }, an object in the format of
//   analysis/attention/page.py (without `packed`), and the ArrayBuffer that its offsets count from
//
// switches: what of the model is changed, an object of
//   closed: a list of [attention, layer, head], as "cross", 0, 3, counted from 0: the outputs of
//     these heads are multiplied by 0
//   is_scaled: false leaves out the division by the square root of d_k in all attentions
//
// Refusals (a sentence that is too long, a server that does not answer) are thrown as Errors whose
// messages can be shown.

const PAD = 0, EOS = 1, UNK = 2;
const START = "<start>"; // shown in place of a token before the first one
const NUM_RIVALS = 5;
const LONGEST_WITHOUT_DRAWING = 30; // milliseconds

const NOTES = {
  preprocessed: {
    en: "This model was trained on preprocessed text. Type it so: marks apart from words, as in " +
      "“Guten Morgen , Welt !”",
    ja: "このモデルは前処理済みの文で訓練されています。記号は単語から離して入力してください" +
      "（例：“Guten Morgen , Welt !”）。",
  },
  bfloat16: {
    en: "Python computes this model in bfloat16; the page has more digits and may differ.",
    ja: "Python はこのモデルを bfloat16 で計算しますが、ページはより細かい桁で計算するため、" +
      "結果が違うことがあります。",
  },
};

// Computes in the page, with greedy search (decoding/greedy.py).
class PageEngine {
  static async from(packed) {
    const buffer = await inflated(packed.packed);
    const parameters = readParameters(buffer, packed.parameters);
    const model = new Transformer(packed.settings, parameters);
    return new PageEngine(packed, model, readTokenizer(buffer, packed.tokenizer));
  }

  constructor(packed, model, tokenizer) {
    const { settings } = packed;
    this.model = model;
    this.tokenizer = tokenizer;
    this.max_extra_length = packed.max_extra_length;
    this.max_output = packed.max_output ?? Infinity;
    const texts = packed.notes.map((name) => NOTES[name]);
    const join = (language) => texts.map((text) => text[language]).join(" ");
    this.facts = {
      layers: settings.num_layers,
      heads: settings.num_heads,
      d_k: settings.d_k,
      max_source: packed.max_source,
      note: texts.length ? { en: join("en"), ja: join("ja") } : null,
    };
  }

  async encode(text) {
    const found = [...this.tokenizer.encode(text), { id: EOS, text: "" }];
    const ids = found.map(({ id }) => id);
    return {
      text,
      ids,
      pieces: ids.map((id) => this.tokenizer.piece(id)),
      texts: found.map((one) => one.text),
      is_unknown: ids.map((id) => id === UNK),
    };
  }

  async decode(ids) {
    const end = ids.indexOf(EOS);
    return this.tokenizer.decode(end < 0 ? ids : ids.slice(0, end));
  }

  async *translate(source, switches, prefix = []) {
    const state = this.model.start(this.model.encode(source.ids, switches));
    const room = source.ids.length - 1 + this.max_extra_length;
    const limit = Math.min(Math.max(1, room), this.max_output);
    let token = PAD, drawn = performance.now();
    for (let place = 0; place < limit && token !== EOS; place++) {
      const { logits, layers } = this.model.step(state, token, switches);
      const found = this.chosen(logits, prefix[place]);
      token = found.id;
      const by_layer = (kind) => layers.map((layer) => layer[kind].weights);
      const attention = { decoder: by_layer("decoder"), cross: by_layer("cross") };
      yield { ...found, is_forced: place < prefix.length, attention };
      if (performance.now() - drawn > LONGEST_WITHOUT_DRAWING) {
        await pause();
        drawn = performance.now();
      }
    }
  }

  // Returns the likeliest token, or the forced one, with its rivals. PAD keeps its share of the
  // probability and is never chosen.
  chosen(logits, forced) {
    const log_sum = logSum(logits);
    const best = bestOf(logits, NUM_RIVALS + 1);
    const id = forced ?? best[0];
    const named = (token) => {
      const log_probability = logits[token] - log_sum;
      const probability = Math.exp(log_probability);
      return { id: token, piece: this.tokenizer.piece(token), probability, log_probability };
    };
    const rivals = best.filter((token) => token !== id).slice(0, NUM_RIVALS).map(named);
    return { ...named(id), rivals };
  }

  async attention(source, target, switches) {
    const encoded = this.model.encode(source.ids, switches), state = this.model.start(encoded);
    const steps = target.map((_, place) =>
      this.model.step(state, place ? target[place - 1] : PAD, switches));
    const pieces = target.map((id) => this.tokenizer.piece(id));
    const unknown = source.texts.filter((_, place) => source.is_unknown[place]).map(withoutMark);
    const read = source.pieces.map((piece, place) =>
      source.is_unknown[place] ? `${withoutMark(source.texts[place])} ${piece}` : piece);
    const arrays = new Arrays();
    // Of a kind of attention: by layer, what was seen at each position, then by head.
    const of = (kind) => state.layers.map((memories, layer) => ({
      ...memories[kind],
      queries: steps.map(({ layers }) => layers[layer][kind].query),
      weights: steps.map(({ layers }) => layers[layer][kind].weights),
    }));
    const attentions = {
      encoder: attentionOf(read, read, encoded.layers, arrays),
      decoder: attentionOf(pieces, [START, ...pieces.slice(0, -1)], of("decoder"), arrays),
      cross: attentionOf(pieces, read, of("cross"), arrays),
    };
    const { layers, heads } = this.facts;
    const texts = { source_text: source.text, target_text: await this.decode(target), unknown };
    return { shown: { ...texts, layers, heads, attentions }, arrays: await arrays.joined() };
  }
}

function withoutMark(text) { return text.replace(/^▁/, ""); }

// Lets the page draw.
function pause() { return new Promise((resolve) => { setTimeout(resolve); }); }

// Returns the ids of the largest numbers but PAD's, best first; of equal ones the lowest id.
function bestOf(numbers, count) {
  const best = [];
  numbers.forEach((x, id) => {
    if (id === PAD || best.length === count && x <= numbers[best.at(-1)]) return;
    const place = best.findIndex((other) => x > numbers[other]);
    best.splice(place < 0 ? best.length : place, 0, id);
    best.length = Math.min(best.length, count);
  });
  return best;
}

// Adds the arrays of an attention; returns where they are, as analysis/attention/page.py does.
function attentionOf(queries, keys, layers, arrays) {
  const heads = [...layers[0].weights[0].keys()];
  const shares = new Uint16Array(layers.length * heads.length * queries.length * keys.length);
  let begin = 0;
  for (const layer of layers) for (const head of heads) for (const row of layer.weights) {
    shares.set(row[head].map((weight) => Math.round(weight * 65535)), begin); // the rest is hidden
    begin += keys.length;
  }
  const weights = arrays.add(shares);
  const vectors = (positions) => {
    const numbers = heads.flatMap((head) => positions.flatMap((one) => [...one[head]]));
    const values = arrays.add(Float32Array.from(numbers));
    return { values, count: positions.length, width: positions[0][0].length };
  };
  const packed = layers.map((layer) => ({
    query: vectors(layer.queries), key: vectors(layer.keys), value: vectors(layer.values),
  }));
  return { queries, keys, weights, vectors: packed };
}

// Arrays one after another, as bytes; each begins at a multiple of four.
class Arrays {
  constructor() { this.blocks = []; this.length = 0; }

  add(array) {
    const begin = this.length, padding = new Uint8Array((4 - array.byteLength % 4) % 4);
    this.blocks.push(array, padding);
    this.length += array.byteLength + padding.length;
    return begin;
  }

  joined() { return new Blob(this.blocks).arrayBuffer(); }
}
