"""The paper's figures and sentences, checked against the code."""
