"""The MCP surface: flat parameters in, small views out. No decision is made here."""
