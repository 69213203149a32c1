"""The command line's groups, one file each; `cli` puts them together."""
