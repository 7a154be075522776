"""Everything that the starter model reads: text made here from word lists, grammars and a small invented world."""
