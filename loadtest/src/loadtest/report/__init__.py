"""Results as a file, a table, a page, and a comparison."""
