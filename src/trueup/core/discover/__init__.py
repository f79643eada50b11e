"""What a schema may derive from what: names and facts in, ideas out; figures in, proposals out."""
