"""The experiments of the articles, published numbers against measured ones."""
