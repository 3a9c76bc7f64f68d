"""Text to token ids and back; `folder` learns, saves and loads the configured tokenizer."""
