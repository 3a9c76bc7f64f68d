// Draws a sentence and its translation as pieces, the lines between them, the rivals of a piece,
// and how much each piece of the sentence was looked at.

const FAINTEST_LINE = 0.02; // weights below are not drawn

function drawTokens() {
  const { source, tokens, selected } = asked;
  const coverage = coverageOf(tokens), top = Math.max(...coverage, 1e-9);
  const sources = (source?.pieces ?? []).map((piece, place) => {
    const button = tokenButton("source", place, piece);
    if (asked.lost?.some((word) => word.places.includes(place))) button.classList.add("lost");
    if (source.is_unknown[place]) {
      button.classList.add("unknown");
      button.textContent = withoutMark(source.texts[place]) + " ?";
    }
    return tokenItem(button, coverage.length ? coverage[place] / top : 0, coverage.length
      ? say(`looked at ${coverage[place].toFixed(2)}`, `見られた量 ${coverage[place].toFixed(2)}`)
      : "");
  });
  const outputs = tokens.map((token, place) => {
    const button = tokenButton("output", place, token.piece);
    if (place === tokens.length - 1 && !asked.isDone) button.classList.add("new");
    if (token.is_forced) button.classList.add("forced");
    const share = percent(token.probability);
    return tokenItem(button, token.probability, say(`probability ${share}`, `確率 ${share}`), share);
  });
  fill("source_tokens", sources, selected?.side === "source" ? selected.place : 0);
  fill("output_tokens", outputs, selected?.side === "output" ? selected.place : 0);
  byId("unforce").hidden = !asked.prefix.length;
  drawFlow();
  drawRivals();
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
  if (!asked.source || data.source_text !== asked.source.text) return false;
  const { queries, keys } = data.attentions.cross;
  return keys.length === asked.source.pieces.length && queries.length === asked.tokens.length
    && queries.every((piece, place) => piece === asked.tokens[place].piece);
}

// --- Lines: those of the heads and the layer that are chosen for the whole page. ---
function drawnHeads(token) {
  const heads = token.attention.cross[Math.min(chosen.layer, asked.engine.facts.layers - 1)];
  const numbers = selectedHeads().length ? selectedHeads() : range(heads.length);
  return numbers.map((head) => ({ head, weights: heads[head] }));
}
// Returns a token's weights over the source: the mean of the drawn heads.
function drawnWeights(token) { return meanOf(drawnHeads(token).map(({ weights }) => weights)); }

function drawFlow() {
  const flow = byId("flow"), frame = flow.getBoundingClientRect();
  const { context } = new CanvasPen(byId("flow_lines"), flow.clientWidth, flow.clientHeight);
  const middles = (name, edge) => [...byId(name).children].map((item) => {
    const box = item.getBoundingClientRect();
    return { x: (box.left + box.right) / 2 - frame.left, y: box[edge] - frame.top };
  });
  const above = middles("source_tokens", "bottom"), below = middles("output_tokens", "top");
  asked.tokens.forEach((token, output) => {
    for (const { head, weights } of drawnHeads(token)) {
      context.strokeStyle = headColor(head);
      context.setLineDash(headDash(head));
      weights.forEach((weight, source) => {
        const isShown = weight >= FAINTEST_LINE && isLit(output, source);
        if (isShown && above[source] && below[output]) {
          drawDown(context, above[source], below[output], weight);
        }
      });
    }
  });
}
// Returns whether the lines between two pieces are those of the selected one.
function isLit(output, source) {
  if (!asked.selected) return true;
  return asked.selected.place === (asked.selected.side === "output" ? output : source);
}
function drawDown(context, from, to, weight) {
  const middle = (from.y + to.y) / 2;
  context.globalAlpha = Math.min(1, 0.1 + weight);
  context.lineWidth = 1 + 3 * weight;
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
