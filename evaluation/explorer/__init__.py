"""A corpus in the browser: its clips to filter, hear and see, on a map and beside each other."""
