// A small heat map for every layer and head.

function drawOverview() {
  const both = sides(), grid = byId("overview");
  grid.style.gridTemplateColumns = `auto repeat(${data.heads}, max-content)`;
  const items = [element("span")], buttons = [];
  const label = (number) => element("span", String(number), { class: "label" });
  for (const head of range(data.heads)) items.push(label(head + 1));
  for (const layer of range(data.layers)) {
    items.push(label(layer + 1));
    for (const head of range(data.heads)) buttons.push(overviewButton(layer, head, both));
    items.push(...buttons.slice(-data.heads));
  }
  grid.replaceChildren(...items);
  moveByArrows(grid, buttons, data.heads);
}
// Returns the longer side of a small map, in pixels: all heads of a layer fit beside each other.
function thumbnailSide() {
  const room = byId("overview_box").clientWidth - 30;
  return Math.max(20, Math.min(140, room / data.heads - 12));
}
function overviewButton(layer, head, both) {
  const { queries, keys } = both;
  const cell = thumbnailSide() / Math.max(1, queries.length, keys.length);
  const name = say(`layer ${layer + 1}, head ${head + 1}`, `層 ${layer + 1}、ヘッド ${head + 1}`);
  const button = element("button", undefined, { type: "button", "aria-label": name });
  const canvas = element("canvas", undefined, { "aria-hidden": "true" });
  const strengths = strengthsOf(sharesOf(layer, head, both), queries.length, keys.length);
  const pen = new CanvasPen(canvas, keys.length * cell, queries.length * cell);
  pen.cells(strengths, queries.length, keys.length, cell, 0, 0, themeColor("--heat"));
  button.append(canvas);
  button.dataset.layer = layer;
  button.dataset.head = head;
  button.onclick = () => choose({ layer, head, heads: new Set([head]) });
  return button;
}
function markOverview() {
  for (const button of byId("overview").querySelectorAll("button")) {
    const { layer, head } = button.dataset;
    const isChosen = +layer === chosen.layer && chosen.heads.has(+head);
    button.setAttribute("aria-pressed", String(isChosen));
  }
}
