// A small heat map for every layer and head.

function drawOverview() {
  const both = sides(), grid = byId("overview");
  grid.style.gridTemplateColumns = `auto repeat(${data.heads}, max-content)`;
  const items = [element("span")], buttons = [];
  for (const head of range(data.heads)) items.push(element("span", String(head + 1), { class: "label" }));
  for (const layer of range(data.layers)) {
    items.push(element("span", String(layer + 1), { class: "label" }));
    for (const head of range(data.heads)) buttons.push(overviewButton(layer, head, both));
    items.push(...buttons.slice(-data.heads));
  }
  grid.replaceChildren(...items);
  moveByArrows(grid, buttons, data.heads);
}
function overviewButton(layer, head, both) {
  const { queries, keys } = both;
  const cell = Math.max(1, Math.min(6, 72 / Math.max(1, queries.length, keys.length)));
  const name = say(`layer ${layer + 1}, head ${head + 1}`, `層 ${layer + 1}、ヘッド ${head + 1}`);
  const button = element("button", undefined, { type: "button", "aria-label": name });
  const canvas = element("canvas", undefined, { "aria-hidden": "true" });
  const strengths = strengthsOf(sharesOf(layer, head, both), queries.length, keys.length);
  const pen = new CanvasPen(canvas, keys.length * cell, queries.length * cell);
  paintCells(pen, strengths, queries.length, keys.length, cell, 0, 0);
  button.append(canvas);
  button.dataset.layer = layer;
  button.dataset.head = head;
  button.onclick = () => choose({ layer, head, heads: new Set([head]) });
  return button;
}
function markOverview() {
  for (const button of byId("overview").querySelectorAll("button")) {
    const isChosen = +button.dataset.layer === chosen.layer && chosen.heads.has(+button.dataset.head);
    button.setAttribute("aria-pressed", String(isChosen));
  }
}
