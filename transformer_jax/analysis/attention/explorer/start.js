// Starts the page: its own data, the view that the command or the address asks for.

function firstView() {
  const asked = data.view ?? {};
  chosen.attention = firstAttention();
  if (navigator.language.startsWith("ja")) document.documentElement.lang = "ja";
  chosen.layer = asked.layer ?? data.layers - 1;
  chosen.head = asked.head ?? sharpestHead(chosen.attention, chosen.layer);
  chosen.heads = new Set([chosen.head]);
  chosen.query = asked.query ?? 0;
  restPlace();
  if (asked.query !== undefined) chosen.held = "query";
  view.contrast = meanRowMaximum(chosen.attention, chosen.layer, chosen.head) < 0.3;  // or all is pale
}
async function start() {
  data = JSON.parse(byId("data").textContent);
  buffer = await unpack(data);
  firstView();
  readAddress();
  showLanguage();
  listenToControls();
  listenToMap();
  listenToSteps();
  listenToPage();
  drawCost();
  showAttention(data, buffer);
  onChoice.push(writeAddress);
  document.documentElement.dataset.ready = "true";
}
start();
