"""The page of ``python -m nf_mnist.play``: what its tabs show, and in :mod:`~nf_mnist.page.tabs` their controls.

Only the modules of the tabs know Gradio. All others compute what is shown, and work without it.
"""
