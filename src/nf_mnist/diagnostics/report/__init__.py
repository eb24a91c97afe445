"""What a person reads and sees of a diagnosis: one sentence, pictures, and a page of HTML."""
