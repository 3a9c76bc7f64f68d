// What is shown and what is chosen, and the hooks for other files. All files share one scope.
//
// Another sentence: showAttention(object, arrays). Another choice: choose({layer: 1, query: 2}).
// To hear of them: onSentence.push(f), called after another sentence is shown, and
// onChoice.push(f), called after any choice, also that of a place (chosen.query, chosen.key).

let data = null;  // an object in the format of analysis/attention/page.py
let buffer = null;  // its arrays, an ArrayBuffer
// `head` is the one whose steps are shown, `heads` are those drawn. `held` is "query" or "key"
// where a click holds a word of that side, otherwise null.
const chosen = {
  attention: "cross", layer: 0, heads: new Set(), head: 0, query: 0, key: 0, held: null,
};
// How weights are drawn; nothing of it changes a number.
const view = { contrast: false, top: 100, hidesSpecial: false, joinsWords: false };
let pointed = null;  // the word that is pointed at: {side: "query" or "key", place}
const onSentence = [], onChoice = [];

// The cross-attention, if there is one: other models' files may have one or two attentions.
function firstAttention() {
  return data.attentions.cross ? "cross" : Object.keys(data.attentions)[0];
}
function current() { return data.attentions[chosen.attention]; }

// Shows a sentence's attention and redraws everything. `arrays` is the ArrayBuffer that the
// object's offsets count from. Choices that the sentence still has are kept.
function showAttention(object, arrays) {
  data = object;
  buffer = arrays;
  forgetWeights();
  fitChoice();
  buildControls();
  redrawAll();
  onSentence.forEach((hear) => hear());
}

// Takes over some fields of `chosen` and redraws what follows from them.
function choose(change) {
  const before = chosen.attention;
  Object.assign(chosen, change);
  if (change.attention && change.query === undefined) restPlace();
  if (change.head !== undefined && !change.heads && !chosen.heads.has(chosen.head))
    chosen.heads = new Set([chosen.head]);
  fitChoice();
  pointed = null;
  if (chosen.attention !== before) drawOverview();
  redrawChoice();
  onChoice.forEach((hear) => hear());
}

// Chooses the place where two words meet; `held` says which side's lines stay.
function choosePlace(query, key, held = "query") { choose({ query, key, held }); }

// Chooses a word of one side, and of the other the one that it has most to do with.
function chooseWord(side, place) {
  if (chosen.held === side && chosen[side] === place) return choose({ held: null });
  const other = strongest(side, place);
  if (side === "query") choosePlace(place, other, side);
  else choosePlace(other, place, side);
}

// Keeps the choice within what the sentence and the model have.
function fitChoice() {
  const within = (number, count) => Math.max(0, Math.min(count - 1, number));
  if (!data.attentions[chosen.attention]) chosen.attention = firstAttention();
  chosen.layer = within(chosen.layer, data.layers);
  chosen.heads = new Set([...chosen.heads].filter((head) => head < data.heads));
  chosen.head = within(chosen.head, data.heads);
  if (chosen.heads.size && !chosen.heads.has(chosen.head)) chosen.head = Math.min(...chosen.heads);
  chosen.query = within(chosen.query, current().queries.length);
  chosen.key = within(chosen.key, visible(chosen.query));
}

// Chooses for the chosen word that looks the word it looks at most.
function restPlace() {
  fitChoice();
  chosen.key = strongest("query", chosen.query);
}

function selectedHeads() { return [...chosen.heads].sort((a, b) => a - b); }

function redrawAll() {
  showSentence();
  drawTree();
  drawOverview();
  redrawChoice();
}
function redrawChoice() {
  showControls();
  drawWords();
  drawLines();
  drawMap();
  markOverview();
  drawSteps();
  drawImportance();
  markTree();
}
