"""The experiments behind docs/riddles.md: what breaks each flow of the diary, and what fixes it.

The diary is a student's private log of a flow that had a fine loss, passed its tests and still drew noise.
"""
