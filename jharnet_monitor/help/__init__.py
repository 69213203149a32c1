"""The documentation, as Markdown pages that travel with the package.

The hub serves them at `/help/` without the Internet; a code host shows the same files. `pages`
lists and reads them, `generate` writes those that are made from the code.
"""
