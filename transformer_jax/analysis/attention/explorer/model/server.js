// The engine (engine.js) of a page that `transformer-jax serve` answers: Python computes.

class ServerEngine {
  constructor(facts) { this.facts = { ...facts, note: null }; }

  async encode(text) {
    const { tokens } = await posted("/encode", { source: text });
    return {
      text,
      ids: tokens.map(({ token }) => token),
      pieces: tokens.map(({ piece }) => piece),
      texts: tokens.map((one) => one.text),
      is_unknown: tokens.map(({ token }) => token === UNK),
    };
  }

  async decode(tokens) { return (await posted("/decode", { tokens })).text; }

  async *translate(source, switches, prefix = []) {
    const settings = { complete: true, beam_size: 1, num_rivals: NUM_RIVALS + 1 };
    const found = await posted("/step", {
      source: source.text, source_tokens: source.ids, prefix, ...settings, ...asServer(switches),
    });
    for (const [place, { chosen: [token], rivals }] of found.steps.entries()) {
      const others = rivals.map(named).filter(({ id }) => id !== token.token);
      // What the decoder may attend to: the start, and the tokens before this one.
      const until = (row) => row.slice(0, place + 1), whole = (row) => row;
      const rows = (kind, cut) => found[kind].weights.map((heads) =>
        heads.map((weights) => cut(weights[place])));
      const attention = { decoder: rows("decoder", until), cross: rows("cross", whole) };
      yield {
        ...named(token), rivals: others.slice(0, NUM_RIVALS), attention,
        is_forced: place < prefix.length,
      };
    }
  }

  async attention(source, target, switches) {
    const asked = { source: source.text, tokens: target, ...asServer(switches) };
    const { packed, ...shown } = await posted("/view", asked);
    const { layers, heads } = this.facts;
    return { shown: { ...shown, layers, heads }, arrays: await inflated(packed) };
  }
}

function named({ token, piece, log_prob: log_probability }) {
  return { id: token, piece, log_probability, probability: Math.exp(log_probability) };
}

// Returns the switches as the server takes them, which counts from 1.
function asServer({ closed, is_scaled: divide }) {
  const heads = closed.map(([attention, layer, head]) =>
    ({ attention, layer: layer + 1, head: head + 1 }));
  return { closed_heads: heads, divide };
}

// Returns what the server answers; a refusal is an Error.
async function posted(path, value) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(value) });
  const found = await answer.json();
  if (answer.ok) return found;
  const { where, problem, remedy } = found.error;
  throw new Error(`${where}: ${problem}${remedy ? `; ${remedy}` : ""}`);
}
