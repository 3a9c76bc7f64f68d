// The controls at the top of the page, language and theme.

function buildControls() {
  options(byId("layer"), range(data.layers).map((i) => String(i + 1)), chosen.layer);
  byId("controls").querySelectorAll("input[name=attention]").forEach((radio) => {
    radio.parentElement.hidden = !data.attentions[radio.value];
  });
  byId("heads").replaceChildren(...range(data.heads).map(headBox));
}
function headBox(head) {
  const label = element("label"), box = element("input", undefined, { type: "checkbox" });
  const swatch = element("span", "", { class: "swatch" });
  swatch.style.background = headColor(head);
  box.onchange = () => {
    const heads = new Set(chosen.heads);
    if (box.checked) heads.add(head);
    else heads.delete(head);
    choose(box.checked ? { heads, head } : { heads });
  };
  label.append(box, swatch, String(head + 1));
  return label;
}
function showControls() {
  byId("controls").querySelector(`input[value=${chosen.attention}]`).checked = true;
  byId("layer").value = chosen.layer;
  byId("heads").querySelectorAll("input").forEach((box, head) => {
    box.checked = chosen.heads.has(head);
  });
  byId("contrast").checked = view.contrast;
  byId("hides_special").checked = view.hidesSpecial;
  byId("joins_words").checked = view.joinsWords;
  byId("top").value = view.top;
  byId("top_out").textContent = `${view.top}%`;
  byId("top").setAttribute("aria-valuetext", `${view.top}%`);
}
function listenToControls() {
  byId("controls").onsubmit = () => false;
  for (const radio of document.querySelectorAll("input[name=attention]"))
    radio.onchange = () => choose({ attention: radio.value, held: null });
  byId("layer").onchange = () => choose({ layer: +byId("layer").value });
  byId("all_heads").onclick = () => choose({ heads: new Set(range(data.heads)) });
  byId("one_head").onclick = () => {
    const head = sharpestHead(chosen.attention, chosen.layer);
    choose({ head, heads: new Set([head]) });
  };
  const switched = () => {
    view.contrast = byId("contrast").checked;
    view.hidesSpecial = byId("hides_special").checked;
    view.joinsWords = byId("joins_words").checked;
    view.top = +byId("top").value;
    drawOverview();
    choose({});
  };
  for (const id of ["contrast", "hides_special", "joins_words", "top"]) byId(id).oninput = switched;
  for (const id of ["cost_h", "cost_n", "cost_full"]) byId(id).oninput = drawCost;
  byId("save").onclick = saveView;
}

let lastWidth = 0;  // the page's, for which it is drawn
function setLanguage(name) {
  document.documentElement.lang = name;
  showLanguage();
  redrawAll();
  drawCost();
  writeAddress();
}
function showLanguage() {
  byId("language").textContent = say("日本語", "English");
  document.title = say("What attends to what", "どこがどこを見ているか");
}
function listenToPage() {
  byId("language").onclick = () => setLanguage(say("ja", "en"));
  const recolored = () => {
    buildControls();
    redrawAll();
  };
  byId("theme").onclick = () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    recolored();
    writeAddress();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolored);
  window.addEventListener("beforeprint", () => {  // on paper the page is light
    document.documentElement.dataset.print = "";
    recolored();
  });
  window.addEventListener("afterprint", () => {
    delete document.documentElement.dataset.print;
    recolored();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen.held) choose({ held: null });
  });
  window.addEventListener("hashchange", () => {
    readAddress();
    fitChoice();
    showLanguage();
    recolored();
  });
  lastWidth = document.body.clientWidth;
  new ResizeObserver(fitToWidth).observe(byId("controls"));
  window.addEventListener("resize", fitToWidth);
}
// Draws for the width of the window, and keeps what is focused out from under the controls.
function fitToWidth() {
  const bar = byId("controls"), isSticky = getComputedStyle(bar).position === "sticky";
  document.documentElement.style.scrollPaddingTop = isSticky ? `${bar.offsetHeight + 8}px` : "0";
  if (document.body.clientWidth === lastWidth) return;
  lastWidth = document.body.clientWidth;
  drawOverview();
  markOverview();
  drawLines();
  drawMap();
}
function showSentence() {
  byId("sentence").textContent = `${data.source_text} → ${data.target_text}`;
  const unknown = data.unknown ?? [];
  byId("unknown").hidden = !unknown.length;
  byId("unknown_words").textContent = unknown.join(", ");
}
