// Draws a sentence and its translation as pieces, the lines between them, the rivals of a piece,
// and how much each piece of the sentence was looked at.

const LEAST_COVERED = 0.4; // of the mean: what was looked at less may have got lost

function drawTokens() {
  const { source, tokens, selected } = asked;
  const coverage = coverageOf(tokens), top = Math.max(...coverage, 1e-9);
  const sources = (source?.pieces ?? []).map((piece, place) => {
    const button = tokenButton("source", place, piece);
    if (source.is_unknown[place]) {
      button.classList.add("unknown");
      button.textContent = source.texts[place].replace("▁", "") + " ?";
    }
    return tokenItem(button, coverage.length ? coverage[place] / top : 0, coverage.length
      ? say(`looked at ${coverage[place].toFixed(2)}`, `見られた量 ${coverage[place].toFixed(2)}`)
      : "");
  });
  const outputs = tokens.map((token, place) => {
    const button = tokenButton("output", place, token.piece);
    if (token.is_forced) button.classList.add("forced");
    const share = percent(token.probability);
    return tokenItem(button, token.probability, say(`probability ${share}`, `確率 ${share}`), share);
  });
  fill("source_tokens", sources, selected?.side === "source" ? selected.place : 0);
  fill("output_tokens", outputs, selected?.side === "output" ? selected.place : 0);
  byId("unforce").hidden = !asked.prefix.length;
  drawFlow();
  drawRivals();
  drawCoverage(coverage);
}

// Replaces the items of a list; the focus stays at its place.
function fill(name, items, current) {
  const list = byId(name), hadFocus = list.contains(document.activeElement);
  list.replaceChildren(...items);
  const buttons = items.map((item) => item.querySelector("button"));
  moveByArrows(list, buttons);
  buttons.forEach((button, place) => { button.tabIndex = place === current ? 0 : -1; });
  if (hadFocus) buttons[Math.min(current, buttons.length - 1)]?.focus();
}

function tokenButton(side, place, text) {
  const isSelected = asked.selected?.side === side && asked.selected.place === place;
  const button = element("button", text, {
    type: "button", class: "token", dir: "auto", "aria-pressed": String(isSelected),
  });
  button.onclick = () => select(side, place);
  return button;
}
function tokenItem(button, share, title, under = "") {
  const item = element("li"), measure = element("span", undefined, { class: "measure" });
  const bar = element("span");
  bar.style.width = `${100 * share}%`;
  measure.append(bar);
  item.append(button, measure);
  if (under) item.append(element("span", under, { class: "under", "aria-hidden": "true" }));
  if (title) button.setAttribute("aria-description", title);
  item.title = title;
  return item;
}
function percent(share) {
  return share > 0.995 ? "100%" : share < 0.01 ? "<1%" : `${(100 * share).toFixed(0)}%`;
}

// Selects a piece: its lines are drawn, and the other panels choose it too.
function select(side, place) {
  asked.selected = { side, place };
  drawTokens();
  if (!panelsShowThis()) return;
  const other = strongestOf(side, place);
  const [query, key] = side === "output" ? [place, other] : [other, place];
  choose({ attention: "cross", query, key, held: side === "output" ? "query" : "key" });
}
// Returns the place on the other side with the largest weight of those that are drawn.
function strongestOf(side, place) {
  const row = side === "output"
    ? drawnWeights(asked.tokens[place])
    : Float64Array.from(asked.tokens, (token) => drawnWeights(token)[place]);
  return row.indexOf(Math.max(...row));
}
// Follows a choice that was made in another panel.
function followChoice() {
  if (panelsShowThis() && chosen.attention === "cross" && chosen.held) {
    const side = chosen.held === "query" ? "output" : "source";
    asked.selected = { side, place: chosen[chosen.held] };
  }
  drawTokens();
}
// Returns whether the other panels show the sentence and the translation that were asked for.
function panelsShowThis() {
  if (!data.attentions || !asked.source) return false;
  const { queries, keys } = data.attentions.cross;
  const same = (words, others) => words.length === others.length
    && words.every((word, i) => word === others[i]);
  return same(keys, asked.source.pieces) && same(queries, asked.tokens.map((token) => token.piece));
}

// --- Lines. ---
// Returns a token's weights over the source: the mean of the chosen heads of the chosen layer.
function drawnWeights(token) {
  const heads = token.attention.cross[Math.min(chosen.layer, asked.engine.facts.layers - 1)];
  const rows = heads.filter((_, head) => chosen.heads.has(head));
  return meanOf(rows.length ? rows : heads);
}
function drawFlow() {
  const flow = byId("flow"), place = flow.getBoundingClientRect();
  const context = sized(byId("flow_lines"), flow.clientWidth, flow.clientHeight);
  const middles = (name, edge) => [...byId(name).children].map((item) => {
    const box = item.getBoundingClientRect();
    return { x: (box.left + box.right) / 2 - place.left, y: box[edge] - place.top };
  });
  const above = middles("source_tokens", "bottom"), below = middles("output_tokens", "top");
  context.strokeStyle = themeColor("--accent");
  context.lineWidth = 3;
  asked.tokens.forEach((token, output) => {
    drawnWeights(token).forEach((weight, source) => {
      const isOther = asked.selected?.side === "output" ? asked.selected.place !== output
        : asked.selected?.side === "source" && asked.selected.place !== source;
      if (isOther || weight < 0.02 || !above[source] || !below[output]) return;
      drawLine(context, above[source], below[output], weight);
    });
  });
}
function drawLine(context, from, to, weight) {
  const middle = (from.y + to.y) / 2;
  context.globalAlpha = Math.min(1, 0.1 + weight);
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.bezierCurveTo(from.x, middle, to.x, middle, to.x, to.y);
  context.stroke();
}

// --- Rivals. ---
function drawRivals() {
  const box = byId("rivals"), token = asked.tokens[asked.selected?.place];
  box.hidden = asked.selected?.side !== "output" || !token;
  if (box.hidden) return;
  const share = percent(token.probability), place = asked.selected.place + 1;
  const text = token.is_forced
    ? say(`Place ${place}: “${token.piece}” was forced; the model gave it ${share}. Instead:`,
      `${place}番目：「${token.piece}」は指定された語で、モデルの確率は ${share}。代わりに選ぶなら：`)
    : say(`Place ${place}: “${token.piece}” has ${share}. Choose another to go on from there:`,
      `${place}番目：「${token.piece}」の確率は ${share}。別の語を選ぶと、そこから訳し直します：`);
  box.setAttribute("aria-label", text);
  box.replaceChildren(element("p", text), ...token.rivals.map(rivalButton));
}
function rivalButton({ id, piece, probability }) {
  const button = element("button", undefined, { type: "button", "data-id": id });
  const measure = element("span", undefined, { class: "measure" }), bar = element("span");
  bar.style.width = `${100 * probability}%`;
  measure.append(bar);
  button.append(element("bdi", piece), element("span", percent(probability)), measure);
  button.onclick = () => force(id);
  return button;
}

// --- Coverage. ---
// Returns how much each piece of the sentence was looked at while the translation was written: the
// sum over its pieces of the mean of all cross heads. The end sign's own row does not count.
function coverageOf(tokens) {
  const rows = tokens.filter((token) => token.id !== EOS);
  const means = rows.map((token) => meanOf(token.attention.cross.flat()));
  return means.length ? means[0].map((_, place) => means.reduce((sum, row) => sum + row[place], 0)) : [];
}
// Says which words were looked at least: they may have got lost.
function drawCoverage(coverage) {
  const isDone = asked.tokens.at(-1)?.id === EOS && coverage.length > 2;
  const least = isDone ? leastCovered(coverage) : [];
  byId("coverage").textContent = !isDone ? "" : least.length
    ? say(`Hardly looked at, so perhaps lost: ${least.join(", ")}.`,
      `ほとんど見られていない（訳から抜けたかもしれない）語：${least.join("、")}`)
    : say("Every word was looked at.", "どの語も見られています。");
}
function leastCovered(coverage) {
  const { pieces } = asked.source, words = [];
  pieces.slice(0, -1).forEach((piece, place) => {
    const last = words.at(-1);
    if (last && belongsTo(piece, pieces[place - 1], pieces)) {
      last.text = joined(last.text, piece);
      last.most = Math.max(last.most, coverage[place]);
    } else words.push({ text: piece, most: coverage[place] });
  });
  const real = words.filter(({ text }) => /[\p{L}\p{N}]/u.test(text));
  const mean = real.reduce((sum, word) => sum + word.most, 0) / real.length;
  return real.filter(({ most }) => most < LEAST_COVERED * mean).map(({ text }) =>
    text.replace(/^▁/, ""));
}
