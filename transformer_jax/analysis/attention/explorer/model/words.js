// Tokenizers of text whose words are separated by spaces: a list of known tokens, and subword-nmt's
// BPE before it (data/tokenizers/word_list.py, subword_nmt.py and bpe.py).

const SPECIALS = ["<pad>", "</s>", "<unk>"];
const WORD_END = "</w>", JOIN = "@@";

class WordList {
  constructor(vocabulary) {
    this.pieces = [...SPECIALS, ...vocabulary];
    this.ids = new Map(this.pieces.map((piece, id) => [piece, id]));
    for (const piece of SPECIALS) this.ids.delete(piece); // text that spells one is unknown text
  }

  segment(text) { return splitAtSpaces(text); }
  encode(text) {
    return this.segment(text).map((piece) => ({ id: this.ids.get(piece) ?? UNK, text: piece }));
  }
  piece(id) { return this.pieces[id]; }
  decode(ids) {
    return `${ids.map((id) => this.pieces[id]).join(" ")} `.replaceAll("@@ ", "").replace(/ +$/, "");
  }
}

class SubwordNmt extends WordList {
  // `codes`: the content of subword-nmt's file of merges, the first of lowest rank.
  constructor(codes, vocabulary, splits_unknown) {
    super(vocabulary);
    this.known = splits_unknown ? this.ids : null;
    const [first, ...lines] = codes.split("\n");
    const has_version = first.startsWith("#version:");
    this.is_old = !has_version || /^#version:\s*0\.1\s*$/.test(first);
    this.ranks = new Map();
    this.merged_from = new Map(); // a symbol -> the pair of lowest rank that makes it
    const pairs = has_version ? lines : [first, ...lines];
    pairs.filter((line) => line).forEach((line, rank) => {
      const [left, right] = line.replace(/^[\r\n ]+|[\r\n ]+$/g, "").split(" ");
      const pair = `${left} ${right}`;
      if (this.ranks.has(pair)) return;
      this.ranks.set(pair, rank);
      if (!this.merged_from.has(left + right)) this.merged_from.set(left + right, [left, right]);
    });
  }

  segment(text) {
    const core = text.replace(/^[\r\n ]+|[\r\n ]+$/g, ""), start = text.indexOf(core);
    const pieces = splitAtSpaces(core).flatMap((word) => this.split([...word]));
    return splitAtSpaces(text.slice(0, start) + pieces.join(" ") + text.slice(start + core.length));
  }

  split(letters) {
    const symbols = this.symbols(letters);
    const last = symbols.length - 1;
    const parts = symbols.map((symbol, i) => [symbol, i === last]);
    return (this.known ? this.splitUnknown(parts) : parts).map(([symbol, is_last]) =>
      asPiece(symbol, is_last));
  }

  symbols(letters) {
    if (letters.length === 1) return letters;
    if (!this.is_old) return this.merge([...letters.slice(0, -1), letters.at(-1) + WORD_END]);
    const symbols = this.merge([...letters, WORD_END]);
    return symbols.at(-1) === WORD_END ? symbols.slice(0, -1) : symbols;
  }

  splitUnknown(parts) {
    const waiting = parts.toReversed(), found = [];
    for (let part; (part = waiting.pop());) {
      const [symbol, is_last] = part, pair = this.merged_from.get(symbol);
      if (!pair || this.known.has(asPiece(symbol, is_last))) found.push(part);
      else if (pair[1] === WORD_END) waiting.push([pair[0], is_last]);
      else waiting.push([pair[1], is_last], [pair[0], false]);
    }
    return found;
  }

  // Makes the merge of lowest rank everywhere, from left to right; then the next.
  merge(symbols) {
    for (;;) {
      let best = Infinity, chosen = null;
      for (let i = 0; i + 1 < symbols.length; i++) {
        const rank = this.ranks.get(`${symbols[i]} ${symbols[i + 1]}`);
        if (rank < best) { best = rank; chosen = [symbols[i], symbols[i + 1]]; }
      }
      if (!chosen) return symbols;
      const merged = [];
      for (let i = 0; i < symbols.length; i++) {
        if (symbols[i] === chosen[0] && symbols[i + 1] === chosen[1]) merged.push(chosen.join("")), i++;
        else merged.push(symbols[i]);
      }
      symbols = merged;
    }
  }
}

function asPiece(symbol, is_last) {
  if (!is_last) return symbol + JOIN;
  return symbol.endsWith(WORD_END) ? symbol.slice(0, -WORD_END.length) : symbol;
}

function splitAtSpaces(text) { return text.split(" ").filter((word) => word); }
