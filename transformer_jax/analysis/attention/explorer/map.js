// The heat map of the chosen heads, and its key.

const MAX_CELL = 34, MIN_CELL = 6, LABELS = 160;  // pixels
const cursor = { left: 0, top: 0, cell: MAX_CELL, row: 0, column: 0 };  // where the map lies

function meanShares(both) {
  return meanOf(selectedHeads().map((head) => sharesOf(chosen.layer, head, both)));
}
function drawMap() {
  const both = sides(), sizes = mapSizes(both, byId("map_box").clientWidth);
  Object.assign(cursor, sizes);
  paintMap(new CanvasPen(byId("map"), sizes.width, sizes.height), both, sizes, 0, 0);
  byId("map_what").textContent = headsText(selectedHeads());
  drawMapKey();
  readPlace();
}
// Returns the sizes of a map that is to fit a width, in pixels.
function mapSizes({ queries, keys }, room) {
  const measure = byId("map").getContext("2d");
  const widest = (groups, size) => {
    measure.font = `${size}px ${themeColor("--font")}`;
    const widths = groups.map(({ text }) => measure.measureText(text).width);
    return Math.min(LABELS, Math.max(0, ...widths)) + 8;
  };
  const left = widest(queries, 13), fitting = (room - left - 4) / Math.max(1, keys.length);
  const cell = Math.max(MIN_CELL, Math.min(MAX_CELL, fitting, 900 / Math.max(1, queries.length)));
  const size = Math.max(8, Math.min(13, cell - 3)), top = widest(keys, size);
  const width = left + keys.length * cell + 2, height = top + queries.length * cell + 2;
  return { left, top, cell, size, width, height };
}
function paintMap(pen, both, { left, top, cell, size }, x, y) {
  const { queries, keys } = both, style = { color: themeColor("--text"), size, limit: LABELS };
  queries.forEach(({ text }, i) => {
    pen.text(text, x + left - 4, y + top + (i + .5) * cell, { ...style, align: "right" });
  });
  keys.forEach(({ text }, i) => {
    pen.text(text, x + left + (i + .5) * cell, y + top - 4, { ...style, turned: true });
  });
  const strengths = strengthsOf(meanShares(both), queries.length, keys.length);
  const heat = themeColor("--heat");
  pen.cells(strengths, queries.length, keys.length, cell, x + left, y + top, heat);
  const line = themeColor("--line");
  pen.frame(x + left, y + top, keys.length * cell, queries.length * cell, { color: line });
  const row = groupAt(queries, chosen.query), column = groupAt(keys, chosen.key);
  if (row < 0 || column < 0) return;
  const place = [x + left + column * cell, y + top + row * cell, cell, cell];
  pen.frame(...place, { color: themeColor("--mark"), thickness: 2 });
}
function drawMapKey() { paintMapKey(new CanvasPen(byId("map_key"), 330, 30), 0, 0); }
function paintMapKey(pen, left, top) {
  const color = themeColor("--text"), heat = themeColor("--heat"), steps = 20;
  for (let i = 0; i < steps; i++)
    pen.box(left + 14 + 6 * i, top + 6, 6, 14, { color: heat, opacity: (i + 1) / steps });
  pen.frame(left + 14, top + 6, 6 * steps, 14, { color: themeColor("--line") });
  pen.text("0", left, top + 13, { color, size: 12 });
  const end = view.contrast ? say("the row's largest", "行の最大値") : "1 (100%)";
  pen.text(end, left + 20 + 6 * steps, top + 13, { color, size: 12 });
}

// Reads out a cell of the map.
function readCell(row, column) {
  const both = sides(), { queries, keys } = both;
  if (!queries.length || !keys.length) return;
  cursor.row = Math.max(0, Math.min(queries.length - 1, row));
  cursor.column = Math.max(0, Math.min(keys.length - 1, column));
  const share = meanShares(both)[cursor.row * keys.length + cursor.column];
  const place = `${queries[cursor.row].text} → ${keys[cursor.column].text}`;
  byId("map_readout").textContent = `${place} (${headsText(selectedHeads())}): ${show(share ?? 0)}`;
}
function readPlace() {
  const { queries, keys } = sides();
  readCell(groupAt(queries, chosen.query), groupAt(keys, chosen.key));
}
// Chooses the place under the cursor, if the query may look there.
function chooseCell() {
  const { queries, keys } = sides();
  const query = queries[cursor.row].places[0], key = keys[cursor.column].places[0];
  if (key < visible(query)) choosePlace(query, key, "query");
}
function listenToMap() {
  const map = byId("map");
  const cellAt = (event) => [
    Math.floor((event.offsetY - cursor.top) / cursor.cell),
    Math.floor((event.offsetX - cursor.left) / cursor.cell),
  ];
  map.onmousemove = (event) => readCell(...cellAt(event));
  map.onmouseleave = readPlace;
  map.onclick = (event) => {
    readCell(...cellAt(event));
    chooseCell();
  };
  map.onkeydown = (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    if (move) readCell(cursor.row + move[0], cursor.column + move[1]);
    else if (event.key === "Enter" || event.key === " ") chooseCell();
    else return;
    event.preventDefault();
  };
}
