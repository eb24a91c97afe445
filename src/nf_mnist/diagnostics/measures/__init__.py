"""What is measured of a flow, its weights and its images, without saying what follows from it."""
