// The view in the address's hash, so that a reload or a link brings it back. Other files add their
// own part: inAddress.push({write(params), read(params)}).

const inAddress = [{ write: writeView, read: readView }];

function writeView(params) {
  params.set("attention", chosen.attention);
  params.set("layer", chosen.layer + 1);
  params.set("heads", selectedHeads().map((head) => head + 1).join("."));
  params.set("head", chosen.head + 1);
  params.set("query", chosen.query + 1);
  params.set("key", chosen.key + 1);
  if (chosen.held) params.set("held", chosen.held);
  params.set("lang", language());
  const { theme } = document.documentElement.dataset;
  if (theme) params.set("theme", theme);
  params.set("contrast", view.contrast ? 1 : 0);
  if (view.top < 100) params.set("top", view.top);
  for (const [name, isOn] of Object.entries(switches())) if (isOn) params.set(name, 1);
}
function switches() {
  return {
    plain: view.hidesSpecial, words: view.joinsWords,
    undivided: !byId("scaled").checked,
  };
}
function readView(params) {
  const number = (name, otherwise) =>
    params.has(name) ? (parseInt(params.get(name)) || 1) - 1 : otherwise;
  if (data.attentions[params.get("attention")]) chosen.attention = params.get("attention");
  chosen.layer = number("layer", chosen.layer);
  chosen.head = number("head", chosen.head);
  if (params.has("heads")) {
    const heads = params.get("heads").split(".").map((text) => parseInt(text) - 1);
    chosen.heads = new Set(heads.filter((head) => head >= 0));
  }
  chosen.query = number("query", chosen.query);
  chosen.key = number("key", chosen.key);
  chosen.held = ["query", "key"].includes(params.get("held")) ? params.get("held") : null;
  const root = document.documentElement, lang = params.get("lang"), theme = params.get("theme");
  if (["en", "ja"].includes(lang)) root.lang = lang;
  if (["light", "dark"].includes(theme)) root.dataset.theme = theme;
  view.top = Math.max(10, Math.min(100, parseInt(params.get("top")) || 100));
  if (params.has("contrast")) view.contrast = params.get("contrast") === "1";
  view.hidesSpecial = params.has("plain");
  view.joinsWords = params.has("words");
  byId("scaled").checked = !params.has("undivided");
}
function writeAddress() {
  const params = new URLSearchParams();
  inAddress.forEach((part) => part.write(params));
  history.replaceState(null, "", `#${params}`);
}
function readAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  if ([...params].length) inAddress.forEach((part) => part.read(params));
}
