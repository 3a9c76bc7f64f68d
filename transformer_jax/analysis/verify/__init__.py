"""The paper's facts, checked."""
