"""An OpenAI-compatible image server that paints, and the stack that runs everything on one machine."""
