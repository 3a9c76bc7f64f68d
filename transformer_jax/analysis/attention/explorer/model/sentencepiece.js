// SentencePiece's BPE, with its own normalization, from the bytes of a sentencepiece.model. Text is
// handled as UTF-8 bytes, as the library does. It returns the library's ids on any text.

const SPACE_MARK = "▁";

class SentencePiece {
  constructor(bytes) {
    const model = readModel(bytes);
    Object.assign(this, model);
    this.normalizer = new Normalizer(model.normalizer);
    // Only normal pieces can be merged to: text that spells "</s>" is unknown text.
    this.ids = new Map();
    model.pieces.forEach(({ text, type }, id) => { if (type === NORMAL) this.ids.set(text, id); });
    this.unknown = model.pieces.findIndex(({ type }) => type === UNKNOWN);
  }

  // Returns [{ id, text }]; unknown neighbours are one.
  encode(text) {
    const found = [];
    for (const symbol of this.merge([...this.normalizer.normalize(text)])) {
      const id = this.ids.get(symbol) ?? this.unknown, last = found.at(-1);
      if (id === this.unknown && this.has_bytes) found.push(...this.bytesOf(symbol));
      else if (id === this.unknown && last?.id === id) last.text += symbol;
      else found.push({ id, text: symbol });
    }
    return found;
  }

  // Merges the pair of neighbours whose piece has the best score, the leftmost of equal ones, until
  // there is none.
  merge(symbols) {
    const next = symbols.map((_, i) => i + 1), previous = symbols.map((_, i) => i - 1);
    const waiting = new Heap((a, b) => b.score - a.score || a.left - b.left);
    const offer = (left, right) => {
      if (left < 0 || right >= symbols.length) return;
      const text = symbols[left] + symbols[right], id = this.ids.get(text);
      if (id !== undefined) waiting.push({ score: this.pieces[id].score, left, right, text });
    };
    for (let i = 0; i + 1 < symbols.length; i++) offer(i, i + 1);
    for (let pair; (pair = waiting.pop());) {
      const { left, right, text } = pair;
      if (!symbols[left] || !symbols[right] || symbols[left] + symbols[right] !== text) continue;
      symbols[left] = text;
      symbols[right] = "";
      next[left] = next[right];
      if (next[left] < symbols.length) previous[next[left]] = left;
      offer(previous[left], left);
      offer(left, next[left]);
    }
    return symbols.filter((symbol) => symbol);
  }

  // Byte fallback: the pieces of a text's bytes, such as <0xE5>.
  bytesOf(text) {
    return [...new TextEncoder().encode(text)].map((byte) => {
      const name = `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
      return { id: this.pieces.findIndex(({ text }) => text === name), text: name };
    });
  }

  piece(id) { return this.pieces[id].text; }

  decode(ids) {
    const text = [];
    const bytes = [];
    const flush = () => { text.push(new TextDecoder().decode(Uint8Array.from(bytes.splice(0)))); };
    for (const id of ids) {
      const { text: piece, type } = this.pieces[id];
      if (type === BYTE) { bytes.push(parseInt(piece.slice(3, 5), 16)); continue; }
      flush();
      if (type === NORMAL) text.push(piece);
    }
    flush();
    const joined = text.join("");
    return joined.replace(/^▁+/, "").replaceAll(SPACE_MARK, " ");
  }
}

// Kinds of pieces in the model's file.
const NORMAL = 1, UNKNOWN = 2, BYTE = 6, BPE = 2;

// Reads what is needed of a ModelProto (sentencepiece_model.proto).
function readModel(bytes) {
  const text = new TextDecoder("utf-8", { ignoreBOM: true });
  const pieces = [];
  let trainer = new Map(), normalizer = new Map();
  for (const [field, value] of fieldsOf(bytes)) {
    if (field === 1) {
      const piece = new Map(fieldsOf(value));
      const type = piece.get(3) ?? NORMAL;
      pieces.push({ text: text.decode(piece.get(1)), score: piece.get(2) ?? 0, type });
    }
    if (field === 2) trainer = new Map(fieldsOf(value));
    if (field === 3) normalizer = new Map(fieldsOf(value));
  }
  if ((trainer.get(3) ?? 1) !== BPE) throw new Error("this SentencePiece model is not a BPE model");
  return {
    pieces,
    has_bytes: Boolean(trainer.get(35)),
    normalizer: {
      rules: normalizer.get(2) ?? new Uint8Array(),
      adds_space: Boolean(normalizer.get(3) ?? 1),
      removes_spaces: Boolean(normalizer.get(4) ?? 1),
      marks_spaces: Boolean(normalizer.get(5) ?? 1),
    },
  };
}

// Yields [field number, value] of a protocol buffer: a number, or bytes.
function* fieldsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let place = 0;
  const number = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[place++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (place < bytes.length) {
    const key = number(), kind = key & 7;
    let value = null;
    if (kind === 0) value = number();
    else if (kind === 2) { const length = number(); value = bytes.subarray(place, place += length); }
    else if (kind === 5) { value = view.getFloat32(place, true); place += 4; }
    else if (kind === 1) { value = view.getFloat64(place, true); place += 8; }
    else throw new Error("the SentencePiece model is damaged");
    yield [Math.floor(key / 8), value];
  }
}

class Normalizer {
  // The rules: the length of a trie, the trie, and the replacements, each ended by a zero byte.
  constructor({ rules, ...options }) {
    Object.assign(this, options);
    const size = rules.length ? new DataView(rules.buffer, rules.byteOffset).getUint32(0, true) : 0;
    this.trie = new Uint32Array(rules.slice(4, 4 + size).buffer);
    this.replacements = rules.subarray(4 + size);
  }

  normalize(text) {
    const bytes = new TextEncoder().encode(text), result = [];
    const mark = this.marks_spaces ? [0xe2, 0x96, 0x81] : [SPACE];
    let place = 0, was_space = this.removes_spaces;
    if (this.removes_spaces) {
      for (; place < bytes.length;) {
        const { bytes: found, length } = this.prefix(bytes, place);
        if (found.length !== 1 || found[0] !== SPACE) break;
        place += length;
      }
    }
    if (place === bytes.length) return "";
    if (this.adds_space) result.push(...mark);
    while (place < bytes.length) {
      const { bytes: found, length } = this.prefix(bytes, place);
      let begin = 0;
      while (was_space && found[begin] === SPACE) begin++;
      for (const byte of found.subarray(begin)) {
        if (byte === SPACE) result.push(...mark); else result.push(byte);
      }
      if (begin < found.length) was_space = found.at(-1) === SPACE;
      if (!this.removes_spaces) was_space = false;
      place += length;
    }
    const normalized = new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(result));
    if (!this.removes_spaces) return normalized;
    return this.marks_spaces ? normalized.replace(/▁+$/, "") : normalized.replace(/ +$/, "");
  }

  // Returns { bytes, length }: the replacement of the longest rule that the text at `place` begins
  // with, or else its next character, and the length of what it replaces.
  prefix(text, place) {
    const { length, value } = this.longestRule(text, place);
    if (length) {
      return { bytes: this.replacements.subarray(value, this.replacements.indexOf(0, value)), length };
    }
    const first = text[place], width = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    return { bytes: text.subarray(place, place + width), length: width };
  }

  // Walks the trie, a double array of Darts-clone's: a unit holds the label that leads to it, an
  // offset to its children, and whether one of them holds a value.
  longestRule(text, place) {
    const { trie } = this, found = { length: 0, value: 0 };
    if (!trie.length) return found;
    const offset = (unit) => (unit >>> 10) << ((unit & 0x200) >>> 6);
    let node = offset(trie[0]);
    for (let i = place; i < text.length; i++) {
      node ^= text[i];
      const unit = trie[node];
      if ((unit & 0x800000ff) >>> 0 !== text[i]) break;
      node ^= offset(unit);
      if (unit & 0x100) { found.length = i + 1 - place; found.value = trie[node] & 0x7fffffff; }
    }
    return found;
  }
}

const SPACE = 0x20;
