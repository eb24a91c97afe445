"""Where are the bits, and are they true?"""
