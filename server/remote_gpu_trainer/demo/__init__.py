"""The whole road on this computer alone: an emulated market, a real server, a real client, a model that trains."""
