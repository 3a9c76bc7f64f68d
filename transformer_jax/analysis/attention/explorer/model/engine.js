"use strict";
// The model that the page asks. An engine is any object with these members; `PageEngine` below
// computes in the page itself, another may ask a server. The panel knows only this:
//
// engine.facts: what does not change, an object of
//   layers, heads, d_k: numbers; max_source: tokens that a sentence may have, its end included
//   note: what the reader should know of this engine, { en, ja }, or null
//
// await engine.encode(text): the tokens of a sentence, its end included, an object of
//   ids: numbers
//   pieces: what each is called, such as "▁forty"
//   texts: what of the sentence each covers, as the tokenizer normalized it; "" for the end
//   is_unknown: for each, whether the model has no piece for it
//
// await engine.decode(ids): the text of target tokens, up to the end sign
//
// engine.translate(source, switches, prefix = []): an asynchronous iterable of the tokens of the
//   greedy translation, in order, the end sign last (missing if the limit of length came first).
//   The first are those of `prefix`, ids that are forced. Each is an object of
//     id, piece, probability, log_probability (of this token, whether it was forced or not)
//     is_forced: whether it is of the prefix
//     rivals: the five likeliest tokens in place of it, the likeliest first, this one left out:
//       { id, piece, probability }
//     attention: { decoder, cross }, each [layer][head] -> the weights, an array over what the
//       token was predicted from: the start and the tokens before it, or the source
//   Who stops iterating stops the computation.
//
// await engine.attention(source, target, switches): all attention of a sentence and its output, for
//   `target`, the ids of the output. An object of "encoder", "decoder" and "cross", each with
//     queries, keys: pieces; in "decoder" the keys are START and the tokens before the last
//     weights: [layer][head] -> Float32Array [queries * keys], row by row
//     vectors: [layer] -> null, or { query, key, value }: [head][position] -> numbers
//
// switches: what of the model is changed, an object of
//   closed: a list of [attention, layer, head], as "cross", 0, 3, counted from 0: the outputs of
//     these heads are multiplied by 0
//   is_scaled: false leaves out the division by the square root of d_k in all attentions
//
// Refusals (a sentence that is too long, a server that does not answer) are thrown as Errors whose
// messages can be shown.
