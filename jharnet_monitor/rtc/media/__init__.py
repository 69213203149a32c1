"""What is sent: clips made once by the project itself."""
