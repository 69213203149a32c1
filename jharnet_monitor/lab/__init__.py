"""The district in Linux network namespaces: the truth the product is held against."""
