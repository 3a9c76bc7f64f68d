// "Save this view": the lines and the heat map as one SVG file, drawn as they are on the page.

function viewAsSvg() {
  const both = sides(), { queries, keys } = both, heads = selectedHeads();
  const measured = mapSizes(both, 560), words = 170, gap = 240;
  const lines = ROW * Math.max(queries.length, keys.length), mapLeft = 2 * words + gap + 40;
  const width = Math.max(mapLeft + measured.width + 20, mapLeft + 340);
  const top = 56, height = top + Math.max(lines, measured.height) + 70;
  const pen = new SvgPen(width, height, themeColor("--card")), color = themeColor("--text");
  pen.text(`${data.source_text} → ${data.target_text}`, 16, 18, { color, size: 14 });
  const layer = `${say("layer", "層")} ${chosen.layer + 1}`;
  pen.text([attentionName(), layer, headsText(heads)].join(", "), 16, 38, { color });
  paintLines(pen, both, words, words + gap, top);
  const write = (groups, x, align) => groups.forEach(({ text }, i) => {
    pen.text(text, x, top + (i + .5) * ROW, { color, align });
  });
  write(queries, words - 6, "right");
  write(keys, words + gap + 6, "left");
  paintLinesKey(pen, heads, 16, height - 54);
  paintMap(pen, both, measured, mapLeft, top);
  paintMapKey(pen, mapLeft, height - 40);
  return new XMLSerializer().serializeToString(pen.root);
}
function attentionName() {
  const radio = byId("controls").querySelector(`input[value=${chosen.attention}]`);
  return radio.parentElement.innerText.trim();
}
function saveView() {
  const link = element("a", undefined, { download: "attention.svg" });
  link["href"] = URL.createObjectURL(new Blob([viewAsSvg()], { type: "image/svg+xml" }));
  link.click();
  URL.revokeObjectURL(link["href"]);
}
