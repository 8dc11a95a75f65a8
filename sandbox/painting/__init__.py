"""Pictures drawn from shapes: an easel with colours, and one module for each kind of subject."""
