"""The experiments behind docs/riddles.md: what breaks each flow of the diary, and what mends it."""
