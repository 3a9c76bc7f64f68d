// The tree of a parser's output: each node is a button that chooses its first symbol.

const TREE = { row: 46, letter: 8.2, gap: 18, top: 22, side: 8 };

// Returns {width, height, places: [{x, y}]} of the nodes, parents above the middle of their
// children, words side by side at the bottom.
function treeLayout(nodes) {
  const depth = [], places = [];
  let x = TREE.side;
  nodes.forEach(({ parent }, i) => { depth[i] = parent === null ? 0 : depth[parent] + 1; });
  const deepest = Math.max(...depth);
  nodes.forEach(({ label, word }, i) => {
    if (word === null) return;
    const width = TREE.letter * Math.max(textLength(label), textLength(word)) + TREE.gap;
    places[i] = { x: x + width / 2, y: TREE.top + deepest * TREE.row };
    x += width;
  });
  for (let i = nodes.length - 1; i >= 0; i--) {  // children stand after their parents
    if (places[i]) continue;
    const below = nodes.flatMap(({ parent }, child) => (parent === i ? [places[child].x] : []));
    places[i] = { x: (Math.min(...below) + Math.max(...below)) / 2, y: TREE.top + depth[i] * TREE.row };
  }
  return { width: x + TREE.side, height: TREE.top + (deepest + 1) * TREE.row, places };
}
// Returns a text's width in letters; those of Chinese, Japanese and Korean are twice as wide.
function textLength(text) {
  return [...text].reduce((sum, letter) => sum + (letter > "\u2e7f" ? 2 : 1), 0);
}

function svgElement(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
function drawTree() {
  const nodes = data.tree ?? null;
  byId("tree_section").hidden = nodes === null;
  if (nodes === null) return byId("tree").replaceChildren();
  const { width, height, places } = treeLayout(nodes);
  const picture = svgElement("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group" });
  picture.setAttribute("aria-label", say("the tree", "構文木"));
  nodes.forEach(({ parent }, i) => {
    if (parent === null) return;
    const { x, y } = places[i], above = places[parent];
    picture.append(svgElement("line", { x1: above.x, y1: above.y + 6, x2: x, y2: y - 14 }));
  });
  const buttons = nodes.map((node, i) => treeNode(node, places[i], wordsBelow(nodes, i)));
  picture.append(...buttons);
  byId("tree").replaceChildren(picture);
  moveByArrows(picture, buttons);
  markTree();
}
// Returns the words of a node's leaves.
function wordsBelow(nodes, top) {
  const isBelow = nodes.map((_, i) => i === top);
  nodes.forEach(({ parent }, i) => { if (parent !== null && isBelow[parent]) isBelow[i] = true; });
  return nodes.filter(({ word }, i) => word !== null && isBelow[i]).map(({ word }) => word).join(" ");
}
function treeNode({ label, word, symbols }, { x, y }, words) {
  const node = svgElement("g", { role: "button", "aria-label": `${label}: ${words}` });
  node.append(svgElement("text", { x, y, class: "label" }, label));
  if (word !== null) node.append(svgElement("text", { x, y: y + 22 }, word));
  node.dataset.symbols = symbols.join(" ");
  if (!symbols.length) node.setAttribute("aria-disabled", "true");  // the repair added it
  node.onclick = () => chooseSymbol(symbols);
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    chooseSymbol(symbols);
  });
  return node;
}
// Chooses a node's first symbol; once more, the one that closes it.
function chooseSymbol(symbols) {
  if (!symbols.length) return;
  const isHere = chosen.attention !== "encoder" && chosen.held === "query" && chosen.query === symbols[0];
  const attention = chosen.attention === "encoder" ? "cross" : chosen.attention;
  choose({ attention, query: isHere ? symbols[symbols.length - 1] : symbols[0], held: "query" });
}
function markTree() {
  for (const node of byId("tree").querySelectorAll("g")) {
    const symbols = node.dataset.symbols.split(" ").filter(Boolean).map(Number);
    const isChosen = chosen.attention !== "encoder" && symbols.includes(chosen.query);
    node.setAttribute("aria-pressed", String(isChosen));
  }
}
