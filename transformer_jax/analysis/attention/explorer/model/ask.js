// The panel "Type a sentence": what was asked, and what the model makes of it. The model is an
// engine (engine.js); tokens.js and switches.js draw.

const PACE = 110; // milliseconds between two tokens, so that one sees the translation grow
const AS_TRAINED = { closed: [], is_scaled: true };

const asked = {
  engine: null,
  source: null, // what the engine's `encode` returned
  tokens: [], // those of the translation so far, as the engine's `translate` yields them
  trained: null, // the ids of the translation without any switch; null if not known
  prefix: [], // ids that were forced
  selected: null, // { side: "source" or "output", place }: whose lines are drawn
  switches: AS_TRAINED,
  isDone: true, // whether the translation is whole
  lost: null, // the words that it would not miss; null if not known
};
let latest = 0; // the number of the latest question; an earlier one stops

// Makes the panel ready for an engine, before the address is read. `examples` are sentences to
// choose from; `source_text` is the one to begin with.
function prepareAsking(engine, { examples, source_text: first }) {
  asked.engine = engine;
  byId("translate_section").hidden = false;
  byId("ask_text").value = first;
  buildExamples(examples);
  buildHeadSwitches();
  inAddress.push({ write: writeQuestion, read: readQuestion });
}

// Translates the first sentence. The other panels show it already, unless the address asks for
// another one, or for switches.
function startAsking() {
  onChoice.push(followChoice);
  new MutationObserver(redrawQuestion).observe(document.documentElement, {
    attributeFilter: ["lang", "data-theme", "data-print"],
  });
  new ResizeObserver(drawFlow).observe(byId("flow"));
  byId("ask").onsubmit = (event) => {
    event.preventDefault();
    ask();
  };
  byId("unforce").onclick = () => ask();
  byId("unscaled").onchange = () => setSwitches({ is_scaled: !byId("unscaled").checked });
  byId("all_on").onclick = () => setSwitches(AS_TRAINED);
  listenToTour();
  redrawQuestion();
  return ask({ isQuiet: byId("ask_text").value === data.source_text && !isChanged() });
}

function isChanged() { return asked.switches.closed.length > 0 || !asked.switches.is_scaled; }

// Translates what stands in the box, beginning with `prefix`.
//   isQuick: without the pause between two tokens
//   isQuiet: the other panels stay as they are
async function ask({ prefix = [], isQuick = false, isQuiet = false } = {}) {
  const number = ++latest, isStale = () => number !== latest;
  const text = byId("ask_text").value;
  byId("output_text").textContent = "";
  try {
    const source = await asked.engine.encode(text);
    if (isStale()) return;
    Object.assign(asked, { source, tokens: [], trained: null, prefix, selected: null });
    Object.assign(asked, { isDone: false, lost: null });
    drawLost();
    redrawQuestion();
    if (!checkSource(source)) return;
    for await (const token of asked.engine.translate(source, asked.switches, prefix)) {
      if (isStale()) return;
      asked.tokens.push(token);
      asked.selected = { side: "output", place: asked.tokens.length - 1 };
      drawTokens();
      if (!isQuick && !isStill()) await waited(PACE);
    }
    if (isStale()) return;
    await finish(isStale, isQuiet);
  } catch (error) {
    if (!isStale()) warn(error.message, error.message);
  }
}

// What follows once the last token is there.
async function finish(isStale, isQuiet) {
  const ids = outputIds(), target = await asked.engine.decode(ids);
  if (isStale()) return;
  byId("output_text").textContent = target;
  asked.isDone = true;
  asked.selected = { side: "output", place: leastSure() };
  drawTokens();
  if (!isQuiet) {
    const { shown, arrays } = await asked.engine.attention(asked.source, ids, asked.switches);
    if (isStale()) return;
    byId("scaled").checked = asked.switches.is_scaled;
    showAttention({ ...data, ...shown }, arrays);
    writeAddress();
  }
  asked.trained = isChanged() ? await outputAsTrained(isStale) : ids;
  if (isStale()) return;
  await drawComparison();
  await findLost(isStale);
  if (isStale()) return;
  document.documentElement.dataset.asked = String(latest); // for tests
}

// Returns the ids of the translation by the unchanged model, with the same words forced.
async function outputAsTrained(isStale) {
  const ids = [];
  for await (const token of asked.engine.translate(asked.source, AS_TRAINED, asked.prefix)) {
    if (isStale()) break;
    ids.push(token.id);
  }
  return ids;
}

// Returns the place where the model was least sure of its own choice: its rivals are worth a look.
function leastSure() {
  const shares = asked.tokens.map((token) => token.is_forced ? 1 : token.probability);
  return shares.indexOf(Math.min(...shares));
}

function outputIds() { return asked.tokens.map((token) => token.id); }

// Returns whether a sentence can be translated; says what is wrong with it, or unknown in it.
function checkSource({ ids, texts, is_unknown: isUnknown }) {
  const { max_source: most } = asked.engine.facts;
  warn("", "");
  if (ids.length === 1) {
    warn("There is nothing to translate yet.", "訳す文がまだありません。");
    return false;
  }
  if (ids.length > most) {
    warn(`The sentence has ${ids.length} pieces, and the model takes ${most}.`,
      `この文は ${ids.length} 個の断片になり、モデルが受け取れるのは ${most} 個までです。`);
    return false;
  }
  const unknown = texts.filter((_, place) => isUnknown[place]).map(withoutMark);
  if (unknown.length) {
    const list = unknown.join(", ");
    warn(`The model has never seen “${list}”: it reads <unk> there, and can only guess.`,
      `モデルは「${list}」を見たことがありません。<unk> として読むので、推測しかできません。`);
  }
  return true;
}

let warning = ["", ""];
function warn(english, japanese) {
  warning = [english, japanese];
  byId("ask_warning").textContent = say(english, japanese);
}

// Forces a token in place of the selected one; the translation goes on from there.
function force(id) {
  const { place } = asked.selected;
  return ask({ prefix: [...outputIds().slice(0, place), id] });
}

function setSwitches(change) {
  asked.switches = { ...asked.switches, ...change };
  drawSwitches();
  return ask({ prefix: asked.prefix, isQuick: true });
}

function redrawQuestion() {
  const { note } = asked.engine.facts;
  byId("ask_note").hidden = !note;
  if (note) byId("ask_note").textContent = say(note.en, note.ja);
  byId("ask_warning").textContent = say(...warning);
  byId("examples").setAttribute("aria-label", say("Examples", "例文"));
  byId("source_tokens").setAttribute("aria-label", say("Pieces that the model reads", "読む断片"));
  byId("output_tokens").setAttribute("aria-label", say("Pieces that the model writes", "書く断片"));
  drawSwitches();
  drawTokens();
  drawComparison();
  drawLost();
  showTour();
}

function buildExamples(examples) {
  byId("examples").replaceChildren(...examples.map((text) => {
    const button = element("button", text, { type: "button", dir: "auto" });
    button.onclick = () => askFor(text);
    return button;
  }));
}
function askFor(text, options) {
  byId("ask_text").value = text;
  return ask(options);
}

function writeQuestion(params) {
  params.set("text", byId("ask_text").value);
  if (asked.switches.closed.length) params.set("closed", asked.switches.closed.map(nameOf).join("."));
  if (!asked.switches.is_scaled) params.set("unscaled", 1);
}
function readQuestion(params) {
  if (params.get("text")) byId("ask_text").value = params.get("text");
  const names = new Set((params.get("closed") ?? "").split("."));
  const closed = allHeads().filter((head) => names.has(nameOf(head)));
  asked.switches = { closed, is_scaled: !params.has("unscaled") };
}

function waited(milliseconds) {
  return new Promise((resolve) => { setTimeout(resolve, milliseconds); });
}
function isStill() { return matchMedia("(prefers-reduced-motion: reduce)").matches; }
