"""The MCP bridge: image tools for agents. It imports the domain and neither of the other processes."""
