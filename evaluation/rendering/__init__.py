"""What reports, pages and terminal output share: the plot style, the page style, tables as text."""
