"""A search over configurations: one trial after another, or several at once, on teachers that all of them share."""
