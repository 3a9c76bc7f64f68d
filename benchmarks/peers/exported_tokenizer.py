"""The tokenizer of an exported folder by other libraries; it needs nothing of this package."""

UNKNOWN = "<unk>"


def tokenizer_of(folder):
  """Returns (text -> pieces, pieces -> text) of an exported folder, by other libraries."""
  if (folder / "codes.txt").exists():
    from subword_nmt.apply_bpe import BPE

    known = (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    splits_unknown = (folder / "splits_unknown.txt").exists()
    with open(folder / "codes.txt", encoding="utf-8") as codes:
      bpe = BPE(codes, vocab=set(known) if splits_unknown else None)
    return (
      lambda text: bpe.process_line(text).split(" "),
      lambda pieces: f"{' '.join(pieces)} ".replace("@@ ", "").rstrip(" "),
    )
  import sentencepiece

  is_marian = (folder / "source.spm").exists()
  names = ("source.spm", "target.spm") if is_marian else ("sentencepiece.model",) * 2
  source, target = (
    sentencepiece.SentencePieceProcessor(model_file=str(folder / name)) for name in names
  )

  def decode(pieces):
    text = target.decode([piece for piece in pieces if piece != UNKNOWN])
    # Pieces of the source's model alone keep their mark.
    return text.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip() if is_marian else text

  return lambda text: source.encode(text, out_type=str), decode
