"""What a person did wrong, in one clear line."""

from __future__ import annotations


class UserError(Exception):
    """Wrong usage or configuration: the command line prints the message and exits with 2.

    The message is one line and names what is wrong, where, and what would be right.
    """


class StoreError(Exception):
    """The database does not take or give what it should; says in one line why."""
