// What got lost: words that the translation would not miss. Each word of the sentence in turn is made
// unknown to the model; if the same translation is then as likely as before, it does not come from
// that word. This is not the same as how much the word was looked at.

const HARDLY_MISSED = 0.3; // nats: the most by which a translation is less likely without a lost word
const MOST_WORDS = 40; // of a longer sentence it is not asked, as each word takes a translation

async function findLost(isStale) {
  const { is_unknown: isUnknown } = asked.source;
  const words = wordsOf(asked.source.pieces).filter(({ places }) =>
    !places.every((place) => isUnknown[place])); // these are unknown already
  asked.lost = null;
  drawLost();
  if (words.length < 2 || words.length > MOST_WORDS) return;
  const before = logProbabilityOf(asked.tokens), target = outputIds(), lost = [];
  for (const word of words) {
    const ids = asked.source.ids.map((id, place) => word.places.includes(place) ? UNK : id);
    const tokens = [], changed = { ...asked.source, ids };
    for await (const token of asked.engine.translate(changed, asked.switches, target)) {
      if (isStale()) return;
      tokens.push(token);
      if (tokens.length === target.length) break;
    }
    if (before - logProbabilityOf(tokens) < HARDLY_MISSED) lost.push(word);
  }
  asked.lost = lost;
  drawTokens();
  drawLost();
}

function logProbabilityOf(tokens) {
  return tokens.reduce((sum, token) => sum + token.log_probability, 0);
}

// Returns the words of a sentence that have letters or digits: [{ text, places }].
function wordsOf(pieces) {
  const words = [];
  pieces.slice(0, -1).forEach((piece, place) => {
    const last = words.at(-1);
    if (last && belongsTo(piece, pieces[place - 1], pieces) && isWord(piece) === isWord(last.text)) {
      last.places.push(place);
      last.text = joined(last.text, piece);
    } else words.push({ text: piece, places: [place] });
  });
  return words.filter(({ text }) => isWord(text));
}
function isWord(text) { return /[\p{L}\p{N}]/u.test(text); }

function drawLost() {
  const { lost } = asked;
  const list = (lost ?? []).map(({ text }) => withoutMark(text)).join(say(", ", "、"));
  byId("coverage").textContent = !lost ? "" : lost.length
    ? say(`The translation would not miss: ${list}. (It is as likely without them, however much ` +
      "they were looked at. What it should have said of them got lost.)",
      `なくても訳が変わらない語：${list}（どれだけ見られていても、訳の確率は下がりません。` +
      "訳すべき内容があったなら、抜け落ちています）")
    : say("The translation needs every word of the sentence.", "訳には文のどの語も必要です。");
}
