"""The media that is sent: clips that the package encodes once."""
