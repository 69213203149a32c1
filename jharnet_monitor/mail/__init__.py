"""The weekly mails: when they are due, what they contain, and how they are delivered."""
