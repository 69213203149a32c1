"""Conferences: grade, voice, picture, and what a real client would show."""
