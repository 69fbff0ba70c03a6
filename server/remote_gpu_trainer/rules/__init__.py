"""The gotchas of the platform as pure rules: typed facts in, findings out. See ``rules.registry``."""
