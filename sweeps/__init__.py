"""What searches and compares: spaces, plans, the search, the comparison, the command line."""
