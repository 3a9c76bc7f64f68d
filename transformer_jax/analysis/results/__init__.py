"""Scored runs as JSON files, and the tables of pages that are made from them."""
