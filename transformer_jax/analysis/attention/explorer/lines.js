// Lines between two columns of words.

const ROW = 26;  // height of a word, pixels
// Weaker lines are not drawn. With the contrast switch strengths are relative to a row's largest.
function smallestLine() { return view.contrast ? 0.3 : 0.02; }

function drawWords() {
  const both = sides();
  const lists = [["queries", both.queries, "query"], ["keys", both.keys, "key"]];
  for (const [id, groups, side] of lists) {
    const buttons = groups.map((group) => wordButton(group, side));
    byId(id).replaceChildren(...buttons.map((button) => {
      const item = element("li");
      item.append(button);
      return item;
    }));
    moveByArrows(byId(id), buttons);
    const held = chosen.held === side ? groupAt(groups, chosen[side]) : -1;
    if (held > 0) buttons.forEach((button, i) => { button.tabIndex = i === held ? 0 : -1; });
  }
}
function wordButton(group, side) {
  const button = element("button", group.text, { type: "button", dir: "auto", title: group.text });
  button.onmouseenter = button.onfocus = () => point(side, group.places[0]);
  button.onmouseleave = button.onblur = () => point(null);
  button.onclick = () => chooseWordAndStay(side, group.places[0]);
  return button;
}
// Chooses a word; the keyboard stays where it was although the words are drawn anew.
function chooseWordAndStay(side, place) {
  chooseWord(side, place);
  const list = side === "query" ? "queries" : "keys";
  const groups = sides()[list];
  byId(list).querySelectorAll("button")[groupAt(groups, place)]?.focus({ preventScroll: true });
  pointed = null;
  drawLines();
}

function point(side, place = 0) {
  pointed = side === null ? null : { side, place };
  drawLines();
}
// Returns the word whose lines alone are drawn, {side, place}, or null: pointed at, or held.
function spotlight() {
  if (pointed) return pointed;
  return chosen.held ? { side: chosen.held, place: chosen[chosen.held] } : null;
}

function drawLines() {
  const both = sides(), canvas = byId("lines_canvas");
  const room = Math.floor(byId("lines_gap").getBoundingClientRect().width);
  const width = Math.max(40, Math.min(460, room));
  const height = ROW * Math.max(both.queries.length, both.keys.length);
  paintLines(new CanvasPen(canvas, width, height), both, 0, width, 0);
  markWords(both);
  drawLinesKey();
  byId("lines_readout").textContent = spotlight() && chosen.heads.size ? described(both) : "";
}
function paintLines(pen, both, left, right, top) {
  const { queries, keys } = both, light = spotlight(), heads = selectedHeads();
  const row = light && groupAt(light.side === "query" ? queries : keys, light.place);
  const smallest = smallestLine();
  heads.forEach((head, number) => {
    const shift = (number - (heads.length - 1) / 2) * Math.min(2, 14 / heads.length);
    const shares = sharesOf(chosen.layer, head, both);
    const strengths = strengthsOf(shares, queries.length, keys.length);
    const style = { color: headColor(head), dash: headDash(head) };
    for (let q = 0; q < queries.length; q++) for (let k = 0; k < keys.length; k++) {
      const strength = strengths[q * keys.length + k];
      if (strength < smallest || light && row !== (light.side === "query" ? q : k)) continue;
      const [from, to] = [top + (q + .5) * ROW + shift, top + (k + .5) * ROW + shift];
      const opacity = Math.min(1, strength), thickness = 1 + 2 * opacity;
      pen.line(left + 2, from, right - 2, to, { ...style, opacity, width: thickness });
    }
  });
}
function markWords({ queries, keys }) {
  const light = spotlight();
  for (const [id, side, groups] of [["queries", "query", queries], ["keys", "key", keys]]) {
    const lit = light?.side === side ? groupAt(groups, light.place) : -1;
    const place = groupAt(groups, chosen[side]);
    byId(id).querySelectorAll("button").forEach((button, i) => {
      button.setAttribute("aria-pressed", String(i === lit));
      button.classList.toggle("place", i === place);
    });
  }
}

// Returns what the spotlit word has most to do with, as text, and whose numbers these are.
function described(both) {
  const { queries, keys } = both, { side, place } = spotlight(), heads = selectedHeads();
  const [own, others] = side === "query" ? [queries, keys] : [keys, queries];
  const here = groupAt(own, place);
  if (here < 0) return "";
  const mean = meanOf(heads.map((head) => sharesOf(chosen.layer, head, both)));
  const at = (i) => side === "query" ? mean[here * keys.length + i] : mean[i * keys.length + here];
  const best = others.map((group, i) => [at(i), group.text]).sort((a, b) => b[0] - a[0]);
  const texts = best.slice(0, 3).filter(([share]) => share >= 0.01)
    .map(([share, text]) => `${text} ${(100 * share).toFixed(0)}%`);
  const arrow = side === "query" ? "→" : "←";
  return `${own[here].text} ${arrow} ${texts.join(", ")} (${headsText(heads)})`;
}

// The key: which color is which head, and how strong a line is.
function drawLinesKey() {
  const heads = selectedHeads();
  const width = keyWidth(heads.length);
  paintLinesKey(new CanvasPen(byId("lines_key"), width, 44), heads, 0, 0);
}
function contrastText() {
  return say("strong: the row's largest weight", "濃い線：行で最大の重み");
}
function keyWidth(heads) { return Math.max(230, 44 * Math.min(heads, 8)); }
function paintLinesKey(pen, heads, left, top) {
  const color = themeColor("--text");
  heads.slice(0, 8).forEach((head, i) => {
    const x = left + 44 * i, style = { color: headColor(head), width: 3, dash: headDash(head) };
    pen.line(x, top + 10, x + 20, top + 10, style);
    pen.text(String(head + 1), x + 25, top + 10, { color, size: 12 });
  });
  if (view.contrast) return pen.text(contrastText(), left, top + 32, { color, size: 12 });
  [0.05, 0.25, 0.5, 1].forEach((share, i) => {
    const x = left + 56 * i;
    pen.line(x, top + 32, x + 20, top + 32, { color, opacity: share, width: 1 + 2 * share });
    pen.text(`${100 * share}%`, x + 24, top + 32, { color, size: 12 });
  });
}
