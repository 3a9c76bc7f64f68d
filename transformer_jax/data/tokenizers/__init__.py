"""Text to token ids and back; `folder` trains, saves and loads the one that the settings name."""
