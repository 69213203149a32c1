"""What a report rests on: figures of a period, read from the store."""
