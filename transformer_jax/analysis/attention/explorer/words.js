// Which words are shown: sub-words as they are, joined to words, with or without special pieces.

const SPECIAL = new Set(["</s>", "<start>", "<s>", "<pad>", "▁"]);

// Returns the groups of places that are shown as one word each: [{text, places}].
function groupsOf(words) {
  const groups = [];
  words.forEach((word, place) => {
    const last = groups[groups.length - 1];
    if (view.joinsWords && last && belongsTo(word, words[place - 1], words)) {
      last.places.push(place);
      last.text = joined(last.text, word);
    } else groups.push({ text: word, places: [place] });
  });
  if (view.joinsWords) groups.forEach((group) => {
    if (group.text.length > 1) group.text = group.text.replace(/^▁/, "");
  });
  return view.hidesSpecial ? groups.filter((group) => !SPECIAL.has(group.text)) : groups;
}

// Returns whether a piece goes on with the word of the piece before it.
function belongsTo(piece, before, words) {
  if (SPECIAL.has(piece) && piece !== "▁" || before !== "▁" && SPECIAL.has(before)) return false;
  if (before.endsWith("@@")) return true;
  return words.some((word) => word.startsWith("▁")) && !piece.startsWith("▁");
}
function joined(begin, piece) { return begin.replace(/@@$/, "") + piece; }

// Returns {queries, keys}, the groups of the chosen attention.
function sides() {
  const { queries, keys } = current();
  return { queries: groupsOf(queries), keys: groupsOf(keys) };
}
function groupAt(groups, place) {
  return groups.findIndex((group) => group.places.includes(place));
}

// Returns a head's weights between groups: the sum over a word's keys, the mean over its queries.
function sharesOf(layer, head, { queries, keys }) {
  const weights = weightsOf(chosen.attention, layer, head), width = current().keys.length;
  if (!view.joinsWords && !view.hidesSpecial) return weights;
  const shares = new Float64Array(queries.length * keys.length);
  queries.forEach((query, row) => keys.forEach((key, column) => {
    let sum = 0;
    for (const q of query.places) for (const k of key.places) sum += weights[q * width + k];
    shares[row * keys.length + column] = sum / query.places.length;
  }));
  return shares;
}

// Returns the strengths to draw: of each row only what makes up the top x %, and with the contrast
// switch the row's largest as 1.
function strengthsOf(shares, rows, columns) {
  const strengths = Float64Array.from(shares);
  for (let row = 0; row < rows; row++) {
    const line = strengths.subarray(row * columns, (row + 1) * columns);
    if (view.top < 100) keepTop(line, view.top / 100);
    const top = Math.max(...line);
    if (view.contrast && top > 0) line.forEach((x, i) => { line[i] = x / top; });
  }
  return strengths;
}

// Sets to 0 what is not needed to make up a share of the line's sum.
function keepTop(line, share) {
  const order = [...line.keys()].sort((a, b) => line[b] - line[a]);
  let missing = share * line.reduce((a, b) => a + b, 0);
  for (const i of order) {
    if (missing <= 0) line[i] = 0;
    missing -= line[i];
  }
}
