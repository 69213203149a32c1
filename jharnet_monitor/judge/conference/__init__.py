"""Conference quality: grade, voice, video, drills, and a model of a real client."""
