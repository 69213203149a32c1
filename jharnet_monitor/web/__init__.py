"""The pages, the API and the agents' door: aiohttp and Jinja2."""
