// The model that is packed into the page (format: analysis/attention/model_in_page.py).

// Returns the bytes of a text in base64, inflated.
async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// Returns Map: name -> a matrix { values, rows, columns }, or a vector's numbers, in 32 bits.
function readParameters(buffer, places) {
  return new Map(Object.entries(places).map(([name, place]) => {
    const { rows, columns } = place, values = readValues(buffer, place);
    return [name, columns ? { values, rows, columns } : values];
  }));
}

function readValues(buffer, { rows, columns, kind, begin, scales }) {
  const count = rows * (columns || 1);
  if (kind === "float32") return new Float32Array(buffer, begin, count);
  if (kind === "float16") return Float32Array.from(new Uint16Array(buffer, begin, count), fromHalf);
  const factors = new Float32Array(buffer, scales, rows);
  return Float32Array.from(new Int8Array(buffer, begin, count), (x, i) =>
    x * factors[Math.floor(i / columns)]);
}

// Returns the number that 16 bits stand for: a sign, 5 bits of exponent, 10 of fraction.
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

// Returns the tokenizer: encode(text) -> [{ id, text }], decode(ids) -> text, piece(id) -> text.
function readTokenizer(buffer, { kind, files }) {
  const bytes = (name) => new Uint8Array(buffer, ...files[name]);
  const text = (name) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes(name));
  if (kind === "sentencepiece") return new SentencePiece(bytes("sentencepiece.model"));
  const vocabulary = text("vocabulary.txt").split("\n").slice(0, -1);
  if (kind === "segmented") return new WordList(vocabulary);
  return new SubwordNmt(text("codes.txt"), vocabulary, "splits_unknown.txt" in files);
}
