// Starts the page: its own data, the model that is in it, the view that the command or the address
// asks for.

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
// Returns the model that is in the page or at its server, or null; says why there is none.
async function ownEngine() {
  const { model } = data;
  if (model?.server) return new ServerEngine(model.server);
  if (model && !model.refusal) return PageEngine.from(model);
  byId("no_model").hidden = !model;
  byId("no_model_why").textContent = model?.refusal ?? "";
  return null;
}
// Returns the page's object and arrays with the attention of its first sentence, computed here.
async function computed(engine) {
  const source = await engine.encode(data.source_text), ids = [];
  for await (const token of engine.translate(source, AS_TRAINED)) ids.push(token.id);
  const { shown, arrays } = await engine.attention(source, ids, AS_TRAINED);
  return [{ ...data, ...shown }, arrays];
}
async function start() {
  data = JSON.parse(byId("data").textContent);
  const engine = await ownEngine(), hasAttention = data.attentions !== null;
  if (hasAttention) buffer = await unpack(data);
  else [data, buffer] = await computed(engine);
  firstView();
  if (engine) prepareAsking(engine, data);
  readAddress();
  showLanguage();
  listenToControls();
  listenToMap();
  listenToSteps();
  listenToPage();
  drawCost();
  showAttention(data, buffer);
  onChoice.push(writeAddress);
  showCredit();
  if (engine) startAsking();
  document.documentElement.dataset.ready = "true";
}
function showCredit() {
  byId("credit").hidden = !data.credit;
  if (!data.credit) return;
  const { en, ja, url } = data.credit;
  byId("credit").replaceChildren(
    element("span", en, { lang: "en" }), element("span", ja, { lang: "ja" }), " ",
    element("a", url, { href: url, rel: "noopener" }));
}
start();
