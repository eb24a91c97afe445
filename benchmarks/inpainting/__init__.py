"""How good are completions?"""
