"""How a command is made: composing, building, validating settings, tables, progress, errors in one line."""
