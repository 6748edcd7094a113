"""The explorer: a page on which a corpus's clips are filtered, played, shown on a map and compared."""
